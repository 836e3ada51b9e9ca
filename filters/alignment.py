"""Lays a reference's cut-out over a target's: turned, mirrored, scaled until shapes and shades agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from filters.cutouts import Cutout

Array: TypeAlias = NDArray[np.float32]

TURNS_DEG = tuple(range(-24, 25, 4))  # the renderer turns by up to 12 in the target and 8 in the reference
COARSE = 2  # the first search looks at every second cell: 12 ms a pair became 7


@dataclass(frozen=True)
class Overlay:
    """The reference laid over the target, on the target's grid.

    Attributes:
        colours: [S, S, 3] of the reference, moved.
        alpha: [S, S] of the reference, moved.
        shape: intersection over union of both alphas, 0..1.
        shade: correlation of both luminances where both stand, -1..1.
    """

    colours: Array
    alpha: Array
    shape: float
    shade: float


def overlay(reference: Cutout, target: Cutout) -> Overlay:
    """The best of all turns, mirrored and not, then of small steps around it."""
    coarse: list[Move] = [(turn, flip, 1.0, 0.0, 0.0) for flip in (1.0, -1.0) for turn in TURNS_DEG]
    best = _best(reference, target, coarse, COARSE)
    for size in (1.0, 0.5):
        best = _best(reference, target, list(_around(best, size)), 1)
    moved = _warp(reference, target, [best], 1)
    shape, shade = _agreement(moved, target, 1)
    return Overlay(moved[0, ..., :3], moved[0, ..., 3], float(shape[0]), float(shade[0]))


Move: TypeAlias = tuple[float, float, float, float, float]
"""Turn in degrees, 1 or -1 for mirrored, scale, shift right and down in cells."""


def _around(move: Move, size: float) -> Iterator[Move]:
    turn, flip, scale, right, down = move
    yield move
    for step in (-size, size):
        yield turn + 2 * step, flip, scale, right, down
        yield turn, flip, scale * (1 + 0.03 * step), right, down
        yield turn, flip, scale, right + 0.7 * step, down
        yield turn, flip, scale, right, down + 0.7 * step


def _best(reference: Cutout, target: Cutout, moves: list[Move], step: int) -> Move:
    shape, shade = _agreement(_warp(reference, target, moves, step), target, step)
    return moves[int(np.argmax(shape + 0.5 * shade))]


@cache
def _grid(side: int, step: int = 1) -> Array:
    """Columns and rows of every `step`-th cell, [2, cells]."""
    rows, columns = np.mgrid[0:side:step, 0:side:step].astype(np.float32)
    return np.stack([columns.ravel(), rows.ravel()])


def _extent(alpha: Array) -> tuple[Array, float]:
    """Centre (column, row) and the side of the square of equal area."""
    total = max(float(alpha.sum()), 1e-3)
    centre = (_grid(alpha.shape[0]) * alpha.ravel()).sum(1) / total
    return np.asarray(centre, dtype=np.float32), math.sqrt(total)


def _warp(reference: Cutout, target: Cutout, moves: list[Move], step: int) -> Array:
    """The reference's colours and alpha on the target's every `step`-th cell after each move,
    [moves, S, S, 4]."""
    (to_centre, to_side), (from_centre, from_side) = _extent(target.alpha), _extent(reference.alpha)
    side = target.alpha.shape[0]
    away = _grid(side, step) - to_centre[:, None]
    turns = np.stack([_matrix(move) * (from_side / to_side) for move in moves])
    shifts = np.array([move[3:] for move in moves], dtype=np.float32)
    points = turns @ (away[None] - shifts[..., None]) + from_centre[None, :, None]
    sheet = np.concatenate([reference.colours, reference.alpha[..., None]], axis=-1)
    return _sample(sheet, points[:, 0], points[:, 1]).reshape(
        len(moves), -(-side // step), -(-side // step), 4
    )


def _matrix(move: Move) -> Array:
    angle, flip, scale = math.radians(move[0]), move[1], move[2]
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    return np.array([[flip * cos, -flip * sin], [sin, cos]], dtype=np.float32)


def _sample(sheet: Array, columns: Array, rows: Array) -> Array:
    """Bilinear; outside of the sheet alpha is 0."""
    side = sheet.shape[0]
    padded = np.pad(sheet, ((1, 1), (1, 1), (0, 0)))
    columns, rows = np.clip(columns + 1, 0, side), np.clip(rows + 1, 0, side)
    left, top = columns.astype(np.intp), rows.astype(np.intp)
    across, down = (columns - left)[..., None], (rows - top)[..., None]
    flat, width = padded.reshape(-1, padded.shape[-1]), side + 2
    corner = top * width + left
    upper = flat[corner] * (1 - across) + flat[corner + 1] * across
    lower = flat[corner + width] * (1 - across) + flat[corner + width + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def _agreement(moved: Array, target: Cutout, step: int) -> tuple[Array, Array]:
    """Shape and shade (see `Overlay`) of each moved reference with the target, [moves]."""
    alpha, own = moved[..., 3], target.alpha[::step, ::step]
    both, either = np.minimum(alpha, own), np.maximum(alpha, own)
    shape = both.sum((1, 2)) / np.maximum(either.sum((1, 2)), 1e-3)
    return shape, _correlation(moved[..., :3].mean(-1), target.colours[::step, ::step].mean(-1)[None], both)


def _correlation(one: Array, other: Array, weight: Array) -> Array:
    total = np.maximum(weight.sum((1, 2), keepdims=True), 1e-3)
    one = one - (one * weight).sum((1, 2), keepdims=True) / total
    other = other - (other * weight).sum((1, 2), keepdims=True) / total
    product = (one * other * weight).sum((1, 2))
    spread = (one**2 * weight).sum((1, 2)) * (other**2 * weight).sum((1, 2))
    # 16 grey levels of spread in each: two plain discs do not correlate by their noise.
    return np.asarray(
        (product + 64 * total.ravel()) / (np.sqrt(spread) + 64 * total.ravel()), dtype=np.float32
    )
