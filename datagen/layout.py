"""Where things stand in a picture: boxes, and arrangements of boxes that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

Box: TypeAlias = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom excluded."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """The part of a square canvas that things are placed in, as fractions of its side.

    Attributes:
        left: least left edge.
        right: greatest right edge.
        top: least top edge.
        base_low: least bottom edge: where the farthest thing stands.
        base_high: greatest bottom edge: where the nearest thing stands.
    """

    left: float = 0.03
    right: float = 0.97
    top: float = 0.04
    base_low: float = 0.62
    base_high: float = 0.95


def overlaps(one: Box, other: Box, gap_px: int = 0) -> bool:
    """Whether two boxes share a pixel, or come nearer than `gap_px`.

    >>> overlaps((0, 0, 10, 10), (10, 0, 20, 10)), overlaps((0, 0, 10, 10), (10, 0, 20, 10), gap_px=1)
    (False, True)
    """
    return (
        one[0] < other[2] + gap_px
        and other[0] < one[2] + gap_px
        and one[1] < other[3] + gap_px
        and other[1] < one[3] + gap_px
    )


def centre_x(box: Box) -> float:
    """Horizontal centre in pixels."""
    return (box[0] + box[2]) / 2


def arrange(
    random: Random,
    sizes: Sequence[tuple[int, int]],
    side_px: int,
    area: Area,
    avoid: Sequence[Box] = (),
    tries: int = 200,
) -> list[Box] | None:
    """Boxes for things of `sizes` (width, height), apart from each other and from `avoid`; None where no
    arrangement was found."""
    gap_px = max(side_px // 64, 1)
    for _ in range(tries):
        boxes: list[Box] = []
        for size in sizes:
            box = _drop(random, size, side_px, area)
            if box is None or any(overlaps(box, other, gap_px) for other in (*avoid, *boxes)):
                break
            boxes.append(box)
        else:
            return boxes
    return None


def arrange_in_order(
    random: Random, sizes: Sequence[tuple[int, int]], side_px: int, area: Area, tries: int = 200
) -> list[Box] | None:
    """As `arrange`, with the things from left to right in the order given, clearly apart."""
    width_px = (area.right - area.left) * side_px
    free_px = width_px - sum(width for width, _ in sizes)
    gap_px = max(side_px // 64, 1)
    if free_px < gap_px * (len(sizes) + 1):
        return None
    for _ in range(tries):
        cuts = sorted(random.random() for _ in sizes)
        lefts = _lefts(cuts, sizes, area.left * side_px, free_px - gap_px * len(sizes), gap_px)
        boxes = [_stand(random, left, size, side_px, area) for left, size in zip(lefts, sizes, strict=True)]
        if all(box[1] >= area.top * side_px for box in boxes):
            return boxes
    return None


def _drop(random: Random, size: tuple[int, int], side_px: int, area: Area) -> Box | None:
    least, most = area.left * side_px, area.right * side_px - size[0]
    if most < least:
        return None
    box = _stand(random, random.uniform(least, most), size, side_px, area)
    return box if box[1] >= area.top * side_px else None


def _stand(random: Random, left: float, size: tuple[int, int], side_px: int, area: Area) -> Box:
    bottom = round(random.uniform(max(area.base_low, size[1] / side_px + area.top), area.base_high) * side_px)
    return (round(left), bottom - size[1], round(left) + size[0], bottom)


def _lefts(
    cuts: Sequence[float], sizes: Sequence[tuple[int, int]], start: float, free_px: float, gap_px: int
) -> list[float]:
    lefts, used = [], 0
    for number, (cut, size) in enumerate(zip(cuts, sizes, strict=True)):
        lefts.append(start + cut * free_px + used + gap_px * number)
        used += size[0]
    return lefts
