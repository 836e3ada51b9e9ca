"""What is held against every written text: one line, English, within its length, images that exist."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from datagen.mentions import images_named
from shards.reason import ReasonError
from shards.sample import Json

LATIN_SHARE = 0.9  # of the letters
QUOTES = '"“”„«»`'
_ENGLISH = """the a an of in on at and with from to is are as by for into its it his her their this that show
put place make create generate let left right image picture photo beside next both all only"""
_OTHERS = """der die das und mit ist ein eine einen auf den dem im aus bild zeige setze le la les et avec dans
une des du sur el los las y con una en del foto il lo gli e che nel della o os um uma com da na"""
ENGLISH, OTHERS = frozenset(_ENGLISH.split()), frozenset(_OTHERS.split())
"""Frequent words of German, French, Spanish, Italian and Portuguese that English has not, but for a few."""

_SIDE = re.compile(r"\b(?:left|right)(?! to (?:left|right))\b(?<!left to right)(?<!right to left)")


_LINK = r"(?:\s+(?:(?:shown|seen|pictured|taken|as)\s+)?(?:from|of|in)\s+|\s*\(\s*)"
"""Between a subject and its image."""


class BadTextError(ReasonError, ValueError):
    """A text that cannot be used: it is asked for again, and in the end a reject."""


def trimmed(value: Json) -> Json:
    """JSON without white space at the ends of its texts, where models leave some."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        return {name: trimmed(each) for name, each in value.items()}
    return [trimmed(each) for each in value] if isinstance(value, Sequence) else value


def check_line(text: str, where: str, most: int) -> None:
    """One line of 1 to `most` printable letters, no quotation marks.

    Raises:
        BadTextError: it is something else.
    """
    if not text.strip():
        raise BadTextError("empty", f"{where}: expected words, got {text!r}")
    if not text.isprintable() or text != text.strip():
        raise BadTextError("not_one_line", f"{where}: expected one line, got {text!r:.80}")
    if len(text) > most:
        raise BadTextError(
            "too_long", f"{where}: expected at most {most} letters, got {len(text)}: {text!r:.80}"
        )
    if any(quote in text for quote in QUOTES):
        raise BadTextError("quotes", f"{where}: expected no quotation marks, got {text!r:.80}")


def check_english(text: str, where: str) -> None:
    """English by a simple rule: at least 0.9 of the letters are a to z (accents aside), and no more words of
    `OTHERS` than of `ENGLISH`; of six words or more, at least one of `ENGLISH`.

    >>> check_english("the chef in the café", "phrase")
    >>> check_english("jalapeño", "name")
    >>> check_english("Setze den Koch auf den Tisch", "phrase")
    Traceback (most recent call last):
    ...
    datagen.text_checks.BadTextError: phrase: expected English, got 'Setze den Koch auf den Tisch'

    Raises:
        BadTextError: it is not.
    """
    bare = unicodedata.normalize("NFKD", text.lower())
    letters = [letter for letter in bare if letter.isalpha()]
    words = re.findall(r"[^\W\d_]+", text.lower())
    latin = sum("a" <= letter <= "z" for letter in letters)
    english, other = sum(word in ENGLISH for word in words), sum(word in OTHERS for word in words)
    if latin < LATIN_SHARE * len(letters) or other > english or (len(words) >= 6 and not english):
        raise BadTextError("not_english", f"{where}: expected English, got {text!r:.80}")


def check_phrase(phrase: str, where: str) -> None:
    """A phrase for one subject: a line of English that begins with "the"."""
    check_line(phrase, where, 100)
    check_english(phrase, where)
    if not phrase.lower().startswith("the "):
        raise BadTextError("no_phrase", f'{where}: expected words after "the", got {phrase!r:.80}')
    if images_named(phrase):
        raise BadTextError(
            "no_phrase", f"{where}: expected what can be seen, got an image's number: {phrase!r:.80}"
        )


def check_images_exist(text: str, references: int) -> None:
    """An instruction that names no image beyond its references.

    Raises:
        BadTextError: it does.
    """
    beyond = sorted(number for number in images_named(text) if not 1 <= number <= references)
    if beyond:
        raise BadTextError(
            "wrong_index", f"instruction: expected images 1 to {references}, got {beyond}: {text!r:.200}"
        )


def check_instruction(
    text: str, references: int, *, called: Collection[str] = (), must: Collection[str] = ()
) -> None:
    """An instruction for so many references.

    Args:
        text: it.
        references: how many images there are.
        called: names of images that must each be in it; it may name no further image.
        must: phrases that must each be in it.

    Raises:
        BadTextError: it names an image that does not exist, or leaves out what must be in it.
    """
    check_line(text, "instruction", 700)
    check_english(text, "instruction")
    check_images_exist(text, references)
    for words in [*called, *must]:
        if not re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE):
            raise BadTextError("left_out", f"instruction: expected {words!r} in it, got {text!r:.200}")
    named = images_named(text)
    if called and len(named) > len(called):
        raise BadTextError(
            "wrong_index", f"instruction: expected {len(called)} images named, got {sorted(named)}"
        )


def check_order(text: str, called: Sequence[str]) -> None:
    """An instruction that has its subjects stand from left to right in an order.

    It speaks of left or right; where it says "left to right" the images follow each other in that order; and
    the side that it gives the first, or the last, is not the other one's.

    >>> check_order("From left to right: the cat of image 1, the dog of image 2.", ["image 1", "image 2"])
    >>> check_order("Put 2 left of 1.", ["1", "2"])
    Traceback (most recent call last):
    ...
    datagen.text_checks.BadTextError: instruction: expected 1 left of 2, got 'Put 2 left of 1.'

    Args:
        text: it.
        called: what the images of the subjects are called, from left to right.

    Raises:
        BadTextError: it does not say so, or says the contrary.
    """
    lower = text.lower()
    places = [lower.find(words.lower()) for words in called]
    ends = [min((place for place in places if place > at), default=len(lower)) for at in places]
    sides = [_SIDE.search(lower, at, end) for at, end in zip(places, ends, strict=True)]
    first, last = (side[0] if side else "" for side in (sides[0], sides[-1]))
    rows = [
        order == sorted(order)
        for words, order in (("left to right", places), ("right to left", places[::-1]))
        if words in lower
    ]
    is_said = bool(rows) or _SIDE.search(lower) is not None
    if not is_said or first == "right" or last == "left" or not all(rows):
        row = " left of ".join(called)
        raise BadTextError("wrong_order", f"instruction: expected {row}, got {text!r:.200}")


def check_bound(text: str, called: Mapping[str, str]) -> None:
    """An instruction that gives no subject another's image.

    >>> check_bound("The cat from image 1 on the mat in image 2.", {"cat": "image 1", "mat": "image 2"})
    >>> check_bound("The cat from image 2 on the mat.", {"cat": "image 1", "mat": "image 2"})
    Traceback (most recent call last):
    ...
    datagen.text_checks.BadTextError: instruction: expected 'cat' from image 1, got it from image 2

    Args:
        text: it.
        called: what each subject's image is called, by the subject's name.

    Raises:
        BadTextError: it does.
    """
    for name, own in called.items():
        for other in set(called.values()) - {own}:
            linked = rf"(?<!\w){re.escape(name)}{_LINK}{re.escape(other)}(?!\w)"
            if re.search(linked, text, re.IGNORECASE):
                raise BadTextError(
                    "wrong_index", f"instruction: expected {name!r} from {own}, got it from {other}"
                )


def check_unlike(text: str, given: str) -> None:
    """Not a repetition of what was asked.

    Raises:
        BadTextError: it is.
    """
    words = _plain(text)
    if len(words) > 30 and words in _plain(given):
        raise BadTextError("repeats", f"expected a new text, got what was given: {text!r:.80}")


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
