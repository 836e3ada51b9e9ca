"""One thing of a picture, cut out: its pixels on a small square, how surely each belongs to it, its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.features import Network, Pixels, normalise, pool
from filters.proposals import CELL, Mask, Proposal

FRAME_PX = 160  # 5 ms for the network; 224 px cost twice that and told subjects apart no better
SHRINK = 4
MARGIN = 0.08
Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Cutout:
    """One thing found in a picture.

    Attributes:
        box: (left, top, right, bottom) as fractions of the picture's width and height.
        colours: [S, S, 3] in 0..255, S = FRAME_PX / SHRINK.
        alpha: [S, S] in 0..1, how surely a pixel is the thing's.
        embedding: [1280], length 1.
    """

    box: Box
    colours: Pixels
    alpha: NDArray[np.float32]
    embedding: NDArray[np.float32]

    @property
    def centre_x(self) -> float:
        """Fraction of the picture's width."""
        return (self.box[0] + self.box[2]) / 2

    @property
    def area(self) -> float:
        """Of its box, as a fraction of the picture's."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def cut(
    picture: Image.Image,
    proposal: Proposal,
    log_odds: NDArray[np.float32],
    network: Network,
    mean: NDArray[np.float32],
) -> Cutout:
    """The cut-out of `proposal`, found in `picture` by `log_odds`; all else becomes grey."""
    left, top, right, bottom = proposal.box
    frame = _frame(proposal.box)
    colours = to_square(picture, tuple(edge * CELL for edge in frame))
    alpha = _alpha(proposal.mask, log_odds, frame)
    shown = colours * alpha[..., None] + 127 * (1 - alpha[..., None])
    embedding = normalise(pool(network.look(shown).stride32), mean)
    height, width = proposal.mask.shape
    return Cutout(
        box=(left / width, top / height, right / width, bottom / height),
        colours=shrink(colours),
        alpha=shrink(alpha[..., None])[..., 0],
        embedding=embedding,
    )


def to_square(picture: Image.Image, frame: Box) -> Pixels:
    """What `frame` (in pixels, may reach outside, where it is black) shows, at FRAME_PX square."""
    left, top, right, bottom = frame
    step = (right - left) / FRAME_PX
    moved = picture.transform(
        (FRAME_PX, FRAME_PX),
        Image.Transform.AFFINE,
        (step, 0, left, 0, step, top),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved, dtype=np.float32)


def shrink(pixels: Pixels) -> Pixels:
    """Means over SHRINK x SHRINK pixels."""
    side = pixels.shape[0] // SHRINK
    return np.asarray(pixels.reshape(side, SHRINK, side, SHRINK, -1).mean((1, 3)), dtype=np.float32)


def _frame(box: tuple[int, int, int, int]) -> Box:
    """The square around `box` with a margin, in the box's unit."""
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * (0.5 + MARGIN) + 1
    across, down = (left + right) / 2, (top + bottom) / 2
    return across - half, down - half, across + half, down + half


def _alpha(mask: Mask, log_odds: NDArray[np.float32], frame: Box) -> NDArray[np.float32]:
    inside = np.where(_grown(mask), log_odds, -8.0).astype(np.float32)
    moved = Image.fromarray(inside)
    left, top, right, _ = frame
    step = (right - left) / FRAME_PX
    squared = moved.transform(
        (FRAME_PX, FRAME_PX),
        Image.Transform.AFFINE,
        (step, 0, left, 0, step, top),
        Image.Resampling.BILINEAR,
        fillcolor=-8.0,
    )
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(squared), -8, 8))), dtype=np.float32)


def _grown(mask: Mask) -> Mask:
    """`mask` and the cells next to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2, 1:-1] | padded[1:-1, 1:-1] | padded[2:, 1:-1]
    wide = np.pad(rows, ((0, 0), (1, 1)))
    return np.asarray(wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:])
