"""Referring phrases: words that fit one candidate of an image and no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

from datagen.catalogue import Subject
from datagen.layout import Box, centre_x

Cue: TypeAlias = Literal["name", "attribute", "size", "position"]

SIZE_RATIO = 1.5  # of areas, from which one sees at once what is larger
APART_FRAC = 0.10  # of the image's width, between centres, from which one sees at once what is farther left
COLOUR_FIRST_SHARE = 0.8

ALIKE = frozenset(
    frozenset(pair.split())
    for pair in (
        "orange yellow", "orange brown", "orange red", "orange beige", "yellow beige", "brown beige",
        "brown red",
        "brown black", "red pink", "pink purple", "pink beige", "purple blue", "purple black", "white grey",
        "grey black", "grey blue", "white beige", "blue green", "yellow green",
    )
)  # fmt: skip
"""Colours that one may take for each other: no phrase rests on their difference."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A candidate as it is seen in an image.

    Attributes:
        subject: what it is.
        box: where it is.
    """

    subject: Subject
    box: Box

    @property
    def area_px(self) -> int:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def colour(self) -> str:
        return self.subject.attributes.get("colour", "")


@dataclass(frozen=True)
class Phrase:
    """Words for one candidate.

    Attributes:
        text: e.g. "the larger animal".
        cue: what tells it from the others.
    """

    text: str
    cue: Cue


def shared_noun(one: Subject, other: Subject) -> str | None:
    """The narrowest word that both can be called, or None: then a name is enough to tell them apart."""
    return next((noun for noun in one.nouns if noun in other.nouns), None)


def referring_phrases(chosen: Seen, others: Sequence[Seen], width_px: int) -> Iterator[Phrase]:
    """Every phrase that fits `chosen` and none of `others`, all in one image of `width_px`.

    Where another candidate can be called the same, the phrase uses that word and a cue; the bare name comes
    last, and only where it is nobody else's.
    """
    nouns = [noun for other in others if (noun := shared_noun(chosen.subject, other.subject))]
    if nouns:
        noun = max(nouns, key=chosen.subject.nouns.index)
        rivals = [other for other in others if noun in other.subject.nouns]
        yield from _by_colour(noun, chosen, rivals)
        yield from _by_size(noun, chosen, rivals)
        yield from _by_position(noun, chosen, rivals, width_px)
    if all(chosen.subject.name not in other.subject.nouns for other in others):
        yield Phrase(chosen.subject.definite, "name")


def choose_phrase(random: Random, phrases: Sequence[Phrase], *, may_use_position: bool) -> Phrase | None:
    """One of `phrases`: a position alone where it may be, else a colour rather than a size (most subjects
    have no one colour), the bare name last."""
    cues: list[Cue] = ["attribute", "size"] if random.random() < COLOUR_FIRST_SHARE else ["size", "attribute"]
    for cue in (["position"] if may_use_position else []) + cues + ["name"]:
        fitting = [phrase for phrase in phrases if phrase.cue == cue]
        if fitting:
            return random.choice(fitting)
    return None


def ambiguous_phrase(chosen: Seen, others: Sequence[Seen]) -> Phrase:
    """Words that fit `chosen` and another one too, which is what a fault needs."""
    nouns = [noun for other in others if (noun := shared_noun(chosen.subject, other.subject))]
    return Phrase(f"the {max(nouns, key=chosen.subject.nouns.index)}", "name")


def _by_colour(noun: str, chosen: Seen, rivals: Sequence[Seen]) -> Iterator[Phrase]:
    if all(colours_differ(chosen.colour, rival.colour) for rival in rivals):
        yield Phrase(f"the {chosen.colour} {noun}", "attribute")


def colours_differ(one: str, other: str) -> bool:
    """Whether two colours are known and told apart at a glance.

    >>> colours_differ("red", "blue"), colours_differ("light blue", "blue"), colours_differ("red", "")
    (True, False, False)
    """
    if not one or not other:
        return False
    first, second = one.split()[-1], other.split()[-1]
    return first != second and frozenset((first, second)) not in ALIKE


def _by_size(noun: str, chosen: Seen, rivals: Sequence[Seen]) -> Iterator[Phrase]:
    areas = [rival.area_px for rival in rivals]
    larger, smaller = ("largest", "smallest") if len(rivals) > 1 else ("larger", "smaller")
    if chosen.area_px >= SIZE_RATIO * max(areas):
        yield Phrase(f"the {larger} {noun}", "size")
    if chosen.area_px * SIZE_RATIO <= min(areas):
        yield Phrase(f"the {smaller} {noun}", "size")


def _by_position(noun: str, chosen: Seen, rivals: Sequence[Seen], width_px: int) -> Iterator[Phrase]:
    steps = [(centre_x(rival.box) - centre_x(chosen.box)) / width_px for rival in rivals]
    if any(abs(step) < APART_FRAC for step in steps):
        return
    lefts = sum(step < 0 for step in steps)
    side = "left" if lefts == 0 else "right" if lefts == len(rivals) else "middle" if len(rivals) == 2 else ""
    if side == "middle":
        yield Phrase(f"the middle {noun}", "position")
    elif side:
        yield Phrase(f"the {side}{'most' if len(rivals) > 1 else '-hand'} {noun}", "position")
        yield Phrase(f"the {noun} on the {'far ' if len(rivals) > 1 else ''}{side}", "position")
