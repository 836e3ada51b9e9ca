"""How alike the original candidate of an edited reference is to what it was: features of aligned crops.

It is a similarity, not a probability: a check refuses what is far below any drift; the rest is a judge's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from PIL import Image

from filters.checks import unread_row, value_row
from filters.embedded import HEADS, NETWORK
from filters.features import Network, decode
from filters.judge import WHOLE, Row
from filters.raw import Edited
from filters.sight import Eye
from shards.image import ImageError
from shards.sample import EncodedImage

STEP = 0.03  # of a crop's sides: a usual shift or zoom of an editor
ROUNDS = 4  # steps that the crop of the raw reference may take
DIGITS = 4
Box: TypeAlias = tuple[int, int, int, int]


class LikenessMeter:
    """Compares crops by the features of the embedded judge's network."""

    def __init__(self) -> None:
        mean = json.loads(HEADS.read_text(encoding="utf-8"))["mean_embedding"]
        self._eye = Eye(Network(NETWORK), np.array(mean, dtype=np.float32))

    def rows(self, sample: Edited) -> list[Row]:
        """A row a reference; where nothing was measured its value is 1 and its label mass 0."""
        places = [
            {"key": sample.key, "reference": n, "candidate": WHOLE} for n in range(len(sample.references))
        ]
        return [place | self._row(sample, number) for number, place in enumerate(places)]

    def _row(self, sample: Edited, reference: int) -> Row:
        chosen = next((c for c in sample.subjects[reference] if c.is_target), None)
        raw = sample.raw.get(reference)
        if chosen is None or chosen.box is None or raw is None:
            return value_row(1.0, 0.0)
        try:
            value = self._likeness(raw, sample.references[reference], chosen.box)
        except ImageError:
            return unread_row("error", 0.0)
        return value_row(1.0, 0.0) if value is None else value_row(value, 1.0)

    def _likeness(self, raw: EncodedImage, edited: EncodedImage, claimed: Box) -> float | None:
        """Cosine of the features of both crops, not below 0; None where the box is beside a picture."""
        before, after = decode(raw), decode(edited)
        box = within(claimed, after)
        place = within(moved(box, after, before), before) if box else None
        if box is None or place is None:
            return None
        own = self._eye.see_whole(after, box).embedding
        found: dict[Box, float] = {}
        for _ in range(ROUNDS):
            for box in around(place, before):
                if box not in found:
                    found[box] = float(self._eye.see_whole(before, box).embedding @ own)
            best = max(found, key=lambda box: found[box])
            if best == place:
                break
            place = best
        return round(max(0.0, *found.values()), DIGITS)


def moved(box: Box, one: Image.Image, other: Image.Image) -> Box:
    """The same place in a picture of another size.

    >>> moved((10, 10, 20, 30), Image.new("L", (100, 100)), Image.new("L", (200, 50)))
    (20, 5, 40, 15)
    """
    across, down = other.width / one.width, other.height / one.height
    left, top, right, bottom = box
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def around(box: Box, picture: Image.Image) -> Iterator[Box]:
    """A place, and those a small step of a shift or a zoom away, within the picture."""
    left, top, right, bottom = box
    across, down = max(1, round(STEP * (right - left))), max(1, round(STEP * (bottom - top)))
    steps = [(0, 0, 0, 0)]
    for sign in (1, -1):
        steps += [(sign, 0, sign, 0), (0, sign, 0, sign), (sign, sign, -sign, -sign)]
    for step in steps:
        x, y, u, v = (at + s * by for at, s, by in zip(box, step, (across, down) * 2, strict=True))
        if inside := within((x, y, u, v), picture):
            yield inside


def within(box: Box, picture: Image.Image) -> Box | None:
    """What of a box lies in a picture.

    >>> within((-5, 10, 50, 90), Image.new("L", (40, 40))), within((50, 0, 60, 9), Image.new("L", (40, 40)))
    ((0, 10, 40, 40), None)
    """
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(picture.width, box[2]), min(picture.height, box[3])
    return (left, top, right, bottom) if left < right and top < bottom else None
