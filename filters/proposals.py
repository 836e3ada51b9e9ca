"""Where subjects stand in a picture: the connected parts of what the network finds there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CELL = 4  # pixels of the picture per cell of the objectness map
MIN_CELLS = 36  # about 24 px square at 512: the smallest thing the renderer draws is 90 px long
FRAGMENT = 0.12  # a part this much smaller than its neighbour, and near it, is a piece of it
NEAR_CELLS = 4
MOST = 16  # things looked at: a noisy picture breaks into hundreds, and each costs 8 ms

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Proposal:
    """One thing found in a picture.

    Attributes:
        box: (left, top, right, bottom) in cells.
        mask: [H, W] of the whole picture in cells, true where it stands.
    """

    box: tuple[int, int, int, int]
    mask: Mask

    @property
    def cells(self) -> int:
        """Its area."""
        return int(self.mask.sum())


def propose(log_odds: NDArray[np.float32]) -> list[Proposal]:
    """The largest things found, largest first; fragments joined to the thing they belong to."""
    solid = ndimage.binary_opening(log_odds > 0, iterations=1)
    labels, count = ndimage.label(solid)
    areas = ndimage.sum_labels(solid, labels, np.arange(1, count + 1))
    order = [int(number) + 1 for number in np.argsort(-areas, kind="stable")]
    masks: list[Mask] = []
    for number in order:
        part = labels == number
        home = _home(part, masks)
        if home is not None:
            masks[home] = masks[home] | part
        elif part.sum() >= MIN_CELLS:
            masks.append(part)
    return [Proposal(box=_bounds(mask), mask=mask) for mask in masks[:MOST]]


def join(proposals: Sequence[Proposal]) -> Proposal:
    """All of them as one thing."""
    mask = np.logical_or.reduce([proposal.mask for proposal in proposals])
    return Proposal(box=_bounds(mask), mask=mask)


def _home(part: Mask, masks: list[Mask]) -> int | None:
    """The larger thing that `part` is a fragment of."""
    grown = ndimage.binary_dilation(part, iterations=NEAR_CELLS)
    touching = [(int((grown & mask).sum()), number) for number, mask in enumerate(masks)]
    touch, number = max(touching, default=(0, 0))
    return number if touch and part.sum() < FRAGMENT * masks[number].sum() else None


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
