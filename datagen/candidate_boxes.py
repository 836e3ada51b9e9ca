"""Boxes for the candidates of one image, as a writer that sees it gives them: each around one of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TypeAlias, cast

from datagen.layout import Box
from datagen.text_checks import BadTextError
from datagen.writers import Fields, TextRequest
from shards.image import image_facts
from shards.sample import EncodedImage, Json
from shards.stage import keyed_random

SIDE = 1000  # Qwen3-VL says places in thousandths of an image's sides, whatever its size
LEAST = 10  # thousandths: nothing that can be told from its surroundings is narrower
SAME = 0.7  # intersection over union from which two boxes are around the same thing
Thousandths: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Sought:
    """A candidate whose place is asked for.

    Attributes:
        name: what it is called; another candidate may be called the same.
        look: how it looks, where that is known.
        image: number, from 1, of another image that shows this candidate and none of the others; 0 for none.
    """

    name: str
    look: str = ""
    image: int = 0

    def as_json(self, number: int) -> Json:
        """For a prompt; what is not known is left out."""
        told: dict[str, Json] = {"number": number, "name": self.name}
        return (
            told | ({"look": self.look} if self.look else {}) | ({"image": self.image} if self.image else {})
        )


def ask_boxes(
    sought: Sequence[Sought], images: tuple[EncodedImage, ...], picture: int, *where: Json
) -> TextRequest:
    """The request for the box of each candidate.

    No phrase is told: a box that was found by one would prove nothing about it.

    Args:
        sought: the candidates.
        images: that the writer is shown.
        picture: number, from 1, of the image to search.
        where: what the request belongs to; its seed is of that, so that no other request's depends on it.
    """
    return TextRequest(
        prompt="locate",
        facts={"picture": picture, "subjects": [each.as_json(n) for n, each in enumerate(sought, start=1)]},
        images=images,
        seed=keyed_random("locate", *where).randrange(1 << 31),
        check=partial(_check, sought),
    )


def read_boxes(fields: Fields, image: EncodedImage) -> list[Box]:
    """The boxes in pixels of the image that was searched, in the order of the candidates."""
    facts = image_facts(image)
    sides = (facts.width, facts.height)
    return [_in_pixels(box, sides) for _, box in sorted(_entries(fields))]


def _in_pixels(box: Sequence[int], sides: tuple[int, int]) -> Box:
    """At least what the box covers, whole pixels.

    >>> _in_pixels((0, 250, 333, 1000), (100, 50))
    (0, 12, 34, 50)
    """
    left, top = (math.floor(at * side / SIDE) for at, side in zip(box[:2], sides, strict=True))
    right, bottom = (math.ceil(at * side / SIDE) for at, side in zip(box[2:], sides, strict=True))
    return left, top, right, bottom


def _check(sought: Sequence[Sought], fields: Fields) -> None:
    entries = sorted(_entries(fields))
    numbers, wanted = [number for number, _ in entries], list(range(1, len(sought) + 1))
    if numbers != wanted:
        raise BadTextError("missing_candidate", f"boxes: expected one of each of {wanted}, got {numbers}")
    boxes = [_checked(box, f"box of {each.name!r}") for each, (_, box) in zip(sought, entries, strict=True)]
    for (one, first), (other, second) in combinations(zip(sought, boxes, strict=True), 2):
        if overlap(first, second) > SAME:
            raise BadTextError(
                "same_box", f"boxes: expected {one.name!r} and {other.name!r} apart, got {first} and {second}"
            )


def _checked(box: Sequence[int], where: str) -> Thousandths:
    if not box:
        raise BadTextError("missing_candidate", f"{where}: expected it to be seen, got none")
    if len(box) != 4 or not all(0 <= at <= SIDE for at in box):
        raise BadTextError("outside", f"{where}: expected four numbers of 0 to {SIDE}, got {list(box)!r:.80}")
    left, top, right, bottom = box
    if right - left < LEAST or bottom - top < LEAST:
        raise BadTextError(
            "empty_box", f"{where}: expected left, top, right, bottom, {LEAST} apart, got {list(box)}"
        )
    return left, top, right, bottom


def overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """Intersection over union of two boxes that are not empty, 0..1.

    >>> overlap((0, 0, 10, 10), (5, 0, 15, 10)), overlap((0, 0, 5, 5), (5, 5, 9, 9))
    (0.3333333333333333, 0.0)
    """
    across = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return across * down / (sum(areas) - across * down)


def _entries(fields: Fields) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Number and box of each candidate, as they came."""
    for entry in cast("Sequence[dict[str, Json]]", fields["boxes"]):
        yield cast(int, entry["number"]), tuple(cast("Sequence[int]", entry["bbox_2d"]))
