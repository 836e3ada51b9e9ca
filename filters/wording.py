"""What an instruction says of the references: how it numbers them, and which stands left of which."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shards.sample import Candidate

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_WORDS = re.compile(r"\bleft\b", re.IGNORECASE)
_FROM_RIGHT = re.compile(r"\b(?:from )?right to left\b|\bto the right of\b", re.IGNORECASE)
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def fixed_order(instruction: str, subjects: Sequence[Sequence[Candidate]]) -> tuple[int, ...]:
    """References from left to right as the instruction wants them, from 0; empty where it fixes nothing.

    A phrase that picks a candidate by its place ("the left one of image 1") says nothing of the target, so
    claimed phrases are taken out first.

    >>> fox, mug = (Candidate(name="fox"),), (Candidate(name="mug"),)
    >>> fixed_order("Place the mug in image 2 on the left and the fox in image 1 on the right.", [fox, mug])
    (1, 0)
    >>> fixed_order("The fox to the right of the mug.", [fox, mug])
    (1, 0)
    >>> fixed_order("The fox and the mug in a park.", [fox, mug])
    ()
    """
    places = {
        number: place
        for number in range(len(subjects))
        if (place := _mention(instruction, number, subjects)) >= 0
    }
    plain = _without_phrases(instruction, subjects)
    if not (_WORDS.search(plain) or _FROM_RIGHT.search(plain)) or len(places) < 2:
        return ()
    mentioned = tuple(sorted(places, key=lambda number: places[number]))
    return mentioned[::-1] if _is_reversed(plain) else mentioned


def _is_reversed(plain: str) -> bool:
    if re.search(r"\bleft to right\b", plain, re.IGNORECASE):
        return False
    if _FROM_RIGHT.search(plain):
        return True
    sides = [side.lower() for side in _SIDE.findall(plain)]
    return sides[:2] == ["right", "left"]


def _without_phrases(instruction: str, subjects: Sequence[Sequence[Candidate]]) -> str:
    phrases = sorted(
        {c.phrase for candidates in subjects for c in candidates if c.phrase}, key=len, reverse=True
    )
    for phrase in phrases:
        instruction = re.sub(re.escape(phrase), "it", instruction, flags=re.IGNORECASE)
    return instruction


def _mention(instruction: str, number: int, subjects: Sequence[Sequence[Candidate]]) -> int:
    """Where the instruction first speaks of reference `number`: by number if it does, else by name; or -1."""
    counted = re.search(
        rf"(?:image|photo|picture)[ _]{number + 1}\b|\b{ORDINALS[number % 8]} (?:image|photo|picture)",
        instruction,
        re.IGNORECASE,
    )
    if counted:
        return counted.start()
    names = [words for c in subjects[number] if c.is_target for words in (c.phrase, c.name) if words]
    found = [m.start() for name in names if (m := re.search(re.escape(name), instruction, re.IGNORECASE))]
    return min(found, default=-1)


_NOUN = r"(?:images?|photos?|pictures?|references?|figures?|pics?)"
_MORE = rf"(?:(?:, | and |, and | & )\d{{1,3}}\b(?!\s*{_NOUN}))*"
_NUMBERED = re.compile(
    rf"<\|?(?:image|img)[_ ]?(?P<tag>\d{{1,3}})\|?>"
    rf"|\b{_NOUN}[ _#]{{0,2}}(?P<number>\d{{1,3}})\b(?P<more>{_MORE})"
    rf"|\b(?:(?P<ordinal>{'|'.join(ORDINALS)})|(?P<short>\d{{1,2}})(?:st|nd|rd|th))"
    rf"\s+(?:(?:input|reference|given|source)\s+)?{_NOUN}\b",
    re.IGNORECASE,
)
REACH = 32  # letters between a phrase and its image: "shown in the", "that stands in"
_BETWEEN = re.compile(r"[.;!?]|\b(?:and|with|beside|next to|near)\b", re.IGNORECASE)
_OWNS = re.compile(r"(?:'s|\u2019s|:|,)?\s*", re.IGNORECASE)


def numbers_named(instruction: str) -> Iterator[tuple[int, int, int]]:
    """Every image that an instruction names by its number: from where, to where in the text, which, from 1.

    >>> text = "The fox from Image 1, <|image_3|>, the second photo and images 4 and 5, 3rd picture"
    >>> [number for _, _, number in numbers_named(text)]
    [1, 3, 2, 4, 5, 3]
    """
    for found in _NUMBERED.finditer(instruction):
        number = found["tag"] or found["number"] or found["short"]
        first = int(number) if number else ORDINALS.index(found["ordinal"].lower()) + 1
        yield (*found.span(), first)
        for more in re.findall(r"\d+", found["more"] or ""):
            yield (*found.span(), int(more))


def number_fault(instruction: str, subjects: Sequence[Sequence[Candidate]]) -> str:
    """What is wrong with an instruction's image numbers, in words; "" for nothing.

    A number must be one of a reference; and where a target's phrase is followed by a number (or stands after
    one: "image 2's fox"), it must be that of its own reference.

    >>> fox, mug = (Candidate(name="fox", phrase="the red fox"),), (Candidate(name="mug", phrase="the mug"),)
    >>> number_fault("Put the red fox from image 1 on the mug shown in the second photo.", [fox, mug])
    ''
    >>> number_fault("Put the red fox from image 2 on the mug shown in the first photo.", [fox, mug])
    "image 2 is named for 'the red fox', which image 1 shows"
    >>> number_fault("Photo 3's fox.", [fox, mug])
    'image 3 of 2 is named'
    >>> number_fault("Image 2's mug in a park, with the red fox of photo 1.", [fox, mug])
    ''
    """
    named = list(numbers_named(instruction))
    beyond = [number for _, _, number in named if not 1 <= number <= len(subjects)]
    if beyond:
        return f"image {beyond[0]} of {len(subjects)} is named"
    for reference, candidates in enumerate(subjects, start=1):
        for phrase in _target_words(candidates):
            bound = _bound(instruction, phrase, named)
            if bound and reference not in bound:
                return f"image {min(bound)} is named for {phrase!r}, which image {reference} shows"
            if bound:
                break
    return _scene_fault(instruction, subjects, named)


def _target_words(candidates: Sequence[Candidate]) -> list[str]:
    """What an instruction can call a reference's target, the most telling first; a scene is told by words
    that need not be its own."""
    found = [c for c in candidates if c.is_target and c.category != "scene"]
    return [words for c in found for words in (c.phrase, c.name) if words]


def _bound(instruction: str, phrase: str, named: Sequence[tuple[int, int, int]]) -> set[int]:
    """The numbers that a phrase is tied to; none where it does not occur exactly once."""
    found = list(re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", instruction, re.IGNORECASE))
    if len(found) != 1:
        return set()
    start, end = found[0].span()
    next_at = min((at for at, _, _ in named if at >= end), default=-1)
    if 0 <= next_at - end <= REACH and not _BETWEEN.search(instruction[end:next_at]):
        return {number for at, _, number in named if at == next_at}
    return {n for _, stop, n in named if 0 <= start - stop <= 4 and _OWNS.fullmatch(instruction[stop:start])}


_SCENE = re.compile(
    r"\b(?:scene|place|setting|background|scenery|location)\b"
    r"(?: (?:of|from|in|shown in|seen in))* (?:the )?$",
    re.IGNORECASE,
)


def _scene_fault(
    instruction: str, subjects: Sequence[Sequence[Candidate]], named: Sequence[tuple[int, int, int]]
) -> str:
    """Whether an image that is named as the place gives a place."""
    scenes = {n for n, found in enumerate(subjects, 1) if any(c.category == "scene" for c in found)}
    if not scenes:
        return ""
    for start, stop, number in named:
        is_place = _SCENE.search(instruction[:start]) or re.match(
            r" as (?:the|a|its) (?:background|scene|setting|place)", instruction[stop:], re.IGNORECASE
        )
        if is_place and number not in scenes:
            return f"image {number} is named as the place, which image {min(scenes)} shows"
    return ""
