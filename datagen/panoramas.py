"""Backgrounds: panoramas, their captions, and perspective views of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datagen.catalogue import ASSETS, Split, ZippedPictures, in_split

COLUMNS = ("name", "preposition", "caption", "setting")
FOV_DEG = 80.0
OVERSAMPLING = 3
"""A view is sampled at a third of its side and enlarged smoothly: the panoramas hold no finer detail, and
sampling every pixel would cost nine times as much (18 ms at 512 px)."""


@dataclass(frozen=True, kw_only=True)
class Panorama:
    """One place, seen all around.

    Attributes:
        name: of its file, e.g. "park".
        preposition: how one is there, e.g. "on".
        caption: what it shows, e.g. "a green meadow on a sunny day".
        setting: indoor or outdoor.
    """

    name: str
    preposition: str
    caption: str
    setting: str


@dataclass(frozen=True, kw_only=True)
class View:
    """A camera in a panorama.

    Attributes:
        panorama: its name.
        yaw_deg: to the right, 0 to 360.
        pitch_deg: upwards; negative looks down.
        fov_deg: horizontal field of view.
    """

    panorama: str
    yaw_deg: float
    pitch_deg: float
    fov_deg: float = FOV_DEG


@cache
def load_panoramas(split: Split = "all") -> tuple[Panorama, ...]:
    """The embedded panoramas of `split`."""
    with (ASSETS / "panoramas.csv").open(newline="") as file:
        rows = [Panorama(**{name: row[name] for name in COLUMNS}) for row in csv.DictReader(file)]
    return tuple(row for row in rows if in_split(f"panorama {row.name}", split))


@cache
def _pictures() -> ZippedPictures:
    return ZippedPictures(ASSETS / "panoramas.zip")


@cache
def _pixels(name: str) -> NDArray[np.float32]:
    """[height, width + 1, 3] in 0..255; the first column is repeated on the right, where a full turn ends."""
    picture = Image.open(io.BytesIO(_pictures().read(f"{name}.webp"))).convert("RGB")
    pixels = np.asarray(picture, dtype=np.float32)
    return np.concatenate([pixels, pixels[:, :1]], axis=1)


def look(view: View, side_px: int) -> Image.Image:
    """What the camera sees: square, RGB."""
    coarse_px = max(side_px // OVERSAMPLING, 1)
    pixels = _pixels(view.panorama)
    rows, columns = _directions(view, coarse_px, pixels.shape[0], pixels.shape[1] - 1)
    sampled = _bilinear(pixels, rows, columns)
    picture = Image.fromarray(np.clip(sampled + 0.5, 0, 255).astype(np.uint8))
    return picture.resize((side_px, side_px), Image.Resampling.BICUBIC)


def light_from(view: View) -> float:
    """Where the light comes from: -1 from the left of the view, 1 from its right, 0 from ahead or everywhere.

    The mean direction of the panorama's luminance above the horizon, squared so that lamps and sun count.
    """
    pixels = _pixels(view.panorama)[:, :-1]
    strength = (pixels[: pixels.shape[0] // 2].mean(-1) ** 2).mean(0)
    angles = np.arange(strength.size) / strength.size * 2 * np.pi - np.radians(view.yaw_deg)
    return float(np.clip(3 * (strength * np.sin(angles)).sum() / strength.sum(), -1, 1))


def _directions(
    view: View, side_px: int, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Row and column in a panorama of `height` by `width` pixels, for every pixel of the view."""
    plane = (np.arange(side_px, dtype=np.float64) + 0.5) / side_px * 2 - 1
    reach = np.tan(np.radians(view.fov_deg) / 2)
    right, down = np.meshgrid(plane * reach, plane * reach)
    pitch = np.radians(view.pitch_deg)
    up = -down * np.cos(pitch) + np.sin(pitch)
    ahead = down * np.sin(pitch) + np.cos(pitch)
    turn = np.arctan2(right, ahead) + np.radians(view.yaw_deg)
    rise = np.arctan2(up, np.hypot(right, ahead))
    columns = (turn / (2 * np.pi)) % 1 * width
    rows = np.clip((0.5 - rise / np.pi) * height - 0.5, 0, height - 1.001)
    return rows.astype(np.float32), columns.astype(np.float32)


def _bilinear(
    pixels: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    top, left = rows.astype(np.intp), np.minimum(columns.astype(np.intp), pixels.shape[1] - 2)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, left + 1] * across
    lower = pixels[top + 1, left] * (1 - across) + pixels[top + 1, left + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)
