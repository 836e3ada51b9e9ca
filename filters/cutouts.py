"""One thing of a picture, cut out: pixels on a small square, how surely each is its own, its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.features import Network, Pixels, normalise, pool
from filters.proposals import CELL, Mask, Proposal

FRAME_PX = 160  # 5 ms for the network, where 224 px cost 9
SHRINK = 4
MARGIN = 0.08
OUTSIDE = -8.0  # log-odds of what is surely not the thing
GREY = 127  # what the network takes for nothing: its input is 0 there
Box: TypeAlias = tuple[float, float, float, float]
Array: TypeAlias = NDArray[np.float32]


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
    alpha: Array
    embedding: Array

    @property
    def centre_x(self) -> float:
        """Fraction of the picture's width."""
        return (self.box[0] + self.box[2]) / 2

    @property
    def area(self) -> float:
        """Of its box, as a fraction of the picture's."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def cut(
    picture: Image.Image, proposal: Proposal, log_odds: Array, network: Network, mean: Array | None
) -> Cutout:
    """The cut-out of `proposal`, found in `picture` by `log_odds`; all else becomes grey."""
    left, top, right, bottom = proposal.box
    frame = _frame(proposal.box)
    colours = to_square(picture, (frame[0] * CELL, frame[1] * CELL, frame[2] * CELL))
    inside = np.where(_grown(proposal.mask), log_odds, OUTSIDE).astype(np.float32)
    alpha = _certainty(to_square(Image.fromarray(inside), frame, OUTSIDE))
    height, width = proposal.mask.shape
    box = (left / width, top / height, right / width, bottom / height)
    return _finish(box, colours, alpha, network, mean)


def crop_frame(picture: Image.Image, box: tuple[int, int, int, int]) -> Pixels:
    """The square around a claimed box, [FRAME_PX, FRAME_PX, 3]."""
    return to_square(picture, _frame(box))


def cut_framed(
    colours: Pixels,
    log_odds: Array,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    network: Network,
    mean: Array | None,
) -> Cutout:
    """The cut-out of what stands in a claimed `box` of a picture of `size`, seen as `crop_frame` shows it.

    What reaches in from outside of the box is not its own.
    """
    left, top, right, bottom = box
    frame = _frame(box)
    cells = FRAME_PX // SHRINK
    steps = (np.arange(cells) + 0.5) / cells * (frame[2] - frame[0])
    across, down = frame[0] + steps, frame[1] + steps
    inside = ((down > top) & (down < bottom))[:, None] & ((across > left) & (across < right))[None]
    alpha = np.repeat(np.repeat(_certainty(np.where(inside, log_odds, OUTSIDE)), SHRINK, 0), SHRINK, 1)
    width, height = size
    shares = (left / width, top / height, right / width, bottom / height)
    return _finish(shares, colours, alpha, network, mean)


def _finish(box: Box, colours: Pixels, alpha: Array, network: Network, mean: Array | None) -> Cutout:
    shown = colours * alpha[..., None] + GREY * (1 - alpha[..., None])
    pooled = pool(network.look(shown).features)
    embedding = pooled if mean is None else normalise(pooled, mean)
    return Cutout(
        box=box, colours=shrink(colours), alpha=shrink(alpha[..., None])[..., 0], embedding=embedding
    )


def to_square(picture: Image.Image, frame: tuple[float, ...], outside: float = 0) -> Array:
    """What `frame` (left, top, right; may reach outside) shows, at FRAME_PX square."""
    left, top, right = frame[:3]
    step = (right - left) / FRAME_PX
    moved = picture.transform(
        (FRAME_PX, FRAME_PX),
        Image.Transform.AFFINE,
        (step, 0, left, 0, step, top),
        Image.Resampling.BILINEAR,
        fillcolor=outside if picture.mode == "F" else None,
    )
    return np.asarray(moved, dtype=np.float32)


def _certainty(log_odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, OUTSIDE, -OUTSIDE))), dtype=np.float32)


def shrink(pixels: Pixels) -> Pixels:
    """Means over SHRINK x SHRINK pixels."""
    side = pixels.shape[0] // SHRINK
    return np.asarray(pixels.reshape(side, SHRINK, side, SHRINK, -1).mean((1, 3)), dtype=np.float32)


def _frame(box: tuple[int, int, int, int]) -> Box:
    """The square around `box` with a margin, in the box's unit."""
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * (0.5 + MARGIN)
    across, down = (left + right) / 2, (top + bottom) / 2
    return across - half, down - half, across + half, down + half


def _grown(mask: Mask) -> Mask:
    """`mask` and the cells next to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2, 1:-1] | padded[1:-1, 1:-1] | padded[2:, 1:-1]
    wide = np.pad(rows, ((0, 0), (1, 1)))
    return np.asarray(wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:])
