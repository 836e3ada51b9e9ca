"""Sprites: a subject's picture, posed and perhaps recoloured, cut tight to its alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ALPHA_FLOOR = 16
"""Fainter pixels are dropped, so that a sprite's box is what the eye sees of it."""
MIN_COLOUR_DIFFERENCE = 25.0
"""What a colour fault must differ by: mean over opaque pixels and channels, of 255."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a subject is shown.

    Attributes:
        side_px: its longer side before it is turned.
        rotation_deg: counter-clockwise.
        is_flipped: whether left and right are exchanged.
        hue_deg: hue it is recoloured to (`recolour`), or None for its own colours.
    """

    side_px: int
    rotation_deg: float = 0.0
    is_flipped: bool = False
    hue_deg: float | None = None


def make_sprite(picture: Image.Image, pose: Pose) -> Image.Image:
    """The subject of `picture` (RGBA) in `pose`, RGBA, no empty margin."""
    sprite = picture.crop(picture.getchannel("A").point(_above_floor).getbbox())
    if pose.hue_deg is not None:
        sprite = recolour(sprite, pose.hue_deg)
    if pose.is_flipped:
        sprite = ImageOps.mirror(sprite)
    factor = pose.side_px / max(sprite.size)
    size = (max(round(sprite.width * factor), 1), max(round(sprite.height * factor), 1))
    sprite = sprite.resize(size, Image.Resampling.LANCZOS)
    if pose.rotation_deg:
        sprite = sprite.rotate(pose.rotation_deg, Image.Resampling.BICUBIC, expand=True)
    return _tight(sprite)


def _above_floor(alpha: int) -> int:
    return 255 if alpha >= ALPHA_FLOOR else 0


def _tight(sprite: Image.Image) -> Image.Image:
    alpha = sprite.getchannel("A").point(lambda value: value if value >= ALPHA_FLOOR else 0)
    sprite.putalpha(alpha)
    return sprite.crop(alpha.getbbox())


def recolour(picture: Image.Image, hue_deg: float) -> Image.Image:
    """`picture` with its hues turned so that its main one becomes `hue_deg`, at least
    `MIN_COLOUR_DIFFERENCE` from what it was; a grey, black or white picture is dyed."""
    turned = _turn_hues(picture, hue_deg)
    if colour_difference(picture, turned) >= 1.3 * MIN_COLOUR_DIFFERENCE:
        return turned
    return _dye(picture, hue_deg)


def colour_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute RGB difference, 0 to 255, over the pixels that are opaque in `one`.

    >>> red, blue = Image.new("RGBA", (2, 2), "#ff0000"), Image.new("RGBA", (2, 2), "#0000ff")
    >>> colour_difference(red, blue)
    170.0
    """
    before, after = (np.asarray(picture, dtype=np.float32) for picture in (one, other))
    opaque = before[..., 3] >= 250
    return float(np.abs(before - after)[opaque][:, :3].mean()) if opaque.any() else 0.0


def main_hue(picture: Image.Image) -> float:
    """The saturation-weighted mean hue of the opaque pixels, in degrees."""
    hue, saturation, _ = _hsv(picture)
    angle = hue / 255 * 2 * np.pi
    weight = saturation * (np.asarray(picture.getchannel("A")) >= 250)
    return float(np.degrees(np.arctan2((weight * np.sin(angle)).sum(), (weight * np.cos(angle)).sum())) % 360)


def _hsv(picture: Image.Image) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    values = np.asarray(picture.convert("RGB").convert("HSV"), dtype=np.float32)
    return values[..., 0], values[..., 1], values[..., 2]


def _turn_hues(picture: Image.Image, hue_deg: float) -> Image.Image:
    hue, saturation, value = _hsv(picture)
    turned = (hue + (hue_deg - main_hue(picture)) / 360 * 256) % 256
    return _from_hsv(turned, saturation, value, picture)


def _dye(picture: Image.Image, hue_deg: float) -> Image.Image:
    """One hue everywhere; light and shade stay, black is lifted so that the dye shows."""
    _, saturation, value = _hsv(picture)
    hue = np.full_like(value, hue_deg / 360 * 256 % 256)
    return _from_hsv(hue, np.maximum(saturation, 170), 80 + value * (175 / 255), picture)


def _from_hsv(
    hue: NDArray[np.float32],
    saturation: NDArray[np.float32],
    value: NDArray[np.float32],
    picture: Image.Image,
) -> Image.Image:
    stacked = np.stack([hue, saturation, value], axis=-1).astype(np.uint8)
    turned = Image.fromarray(stacked, mode="HSV").convert("RGBA")
    turned.putalpha(picture.getchannel("A"))
    return turned
