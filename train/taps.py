"""How relevance goes from a reference's ViT grid to its latent grid: four taps a latent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.layout import Layout
from train.segments import Grid, Kind

# L latents that have a ViT grid, U understanding rows


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Bilinear interpolation as a gather: r[latent_row] = sum(r[und_row] * weight).

    Attributes:
        latent_row: [L] row of the latent, counted from the first generation row.
        und_row: [L, 4] rows of its four ViT tokens.
        weight: [L, 4] float32, summing to 1.
    """

    latent_row: npt.NDArray[np.int64]
    und_row: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]


def make_taps(layout: Layout) -> Taps:
    """The taps of every reference of a pack that has both grids."""
    vit_rows = _rows_of(layout, Kind.VIT)
    latent_rows = _rows_of(layout, Kind.LATENT) - layout.und_rows
    vit_start = dict(zip(layout.vit_references, _starts(layout.vit_grids), strict=True))
    vit_grid = dict(zip(layout.vit_references, layout.vit_grids, strict=True))
    rows, taps, weights = (
        [np.zeros(0, np.int64)],
        [np.zeros((0, 4), np.int64)],
        [np.zeros((0, 4), np.float32)],
    )
    for reference, grid, start in zip(
        layout.latent_references, layout.latent_grids, _starts(layout.latent_grids), strict=True
    ):
        if reference in vit_grid:
            tap, weight = bilinear(vit_grid[reference], grid)
            rows.append(latent_rows[start : start + grid.size])
            taps.append(vit_rows[vit_start[reference] + tap])
            weights.append(weight)
    return Taps(latent_row=np.concatenate(rows), und_row=np.concatenate(taps), weight=np.concatenate(weights))


def bilinear(source: Grid, to: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Indices into `source` (row-major) and weights, [to.size, 4] each; half-pixel centres, clamped.

    Equals `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    (top, bottom, down), (left, right, along) = _axis(source.height, to.height), _axis(source.width, to.width)
    rows = np.stack([top, top, bottom, bottom])[:, :, None]
    columns = np.stack([left, right, left, right])[:, None, :]
    row_weight = np.stack([1 - down, 1 - down, down, down])[:, :, None]
    column_weight = np.stack([1 - along, along, 1 - along, along])[:, None, :]
    index = (rows * source.width + columns).reshape(4, -1).T
    return index, (row_weight * column_weight).reshape(4, -1).T.astype(np.float32)


def _axis(
    source: int, to: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    place = np.maximum((np.arange(to) + 0.5) * source / to - 0.5, 0.0)
    low = np.minimum(place.astype(np.int64), source - 1)
    return low, np.minimum(low + 1, source - 1), place - low


def _rows_of(layout: Layout, kind: Kind) -> npt.NDArray[np.int64]:
    return np.flatnonzero(layout.columns.kind == kind)


def _starts(grids: tuple[Grid, ...]) -> list[int]:
    return np.cumsum([0, *(grid.size for grid in grids)])[:-1].tolist()
