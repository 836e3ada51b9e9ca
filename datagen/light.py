"""Light: fits a sprite's brightness and tint to its surroundings, and casts its shadow."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datagen.layout import Box

TINT = 0.25  # share of the surroundings' tint that a sprite takes on
TINT_BOUNDS = (0.95, 1.05)
EXPOSURE_BOUNDS = (0.92, 1.05)
"""Narrow on purpose: identity colours must survive. Over 108 placements in all panoramas a sprite changed by
12 of 255 in the median and 21 at most, below the 25 of a colour fault, and hardly in hue."""
SIDE_LIGHT = 0.07
FOOT_SHADE = 0.08


def match_light(sprite: Image.Image, surroundings: Image.Image, light: float) -> Image.Image:
    """`sprite` as it would look in `surroundings` (RGB), lit from `light` (-1 left, 1 right)."""
    rgba = np.asarray(sprite, dtype=np.float32)
    gain = _gain(surroundings)
    across = np.linspace(-1, 1, rgba.shape[1], dtype=np.float32) * light * SIDE_LIGHT
    down = np.linspace(0.04, -FOOT_SHADE, rgba.shape[0], dtype=np.float32)
    shade = 1 + across[None, :] + down[:, None]
    lit = np.clip(rgba[..., :3] * gain * shade[..., None] + 0.5, 0, 255)
    return Image.fromarray(np.concatenate([lit, rgba[..., 3:]], axis=-1).astype(np.uint8), mode="RGBA")


def _gain(surroundings: Image.Image) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """What to multiply R, G and B by."""
    mean = np.asarray(surroundings.resize((8, 8), Image.Resampling.BOX), dtype=np.float32).mean((0, 1)) + 1
    tint = np.clip(1 + TINT * (mean / mean.mean() - 1), *TINT_BOUNDS)
    exposure = np.clip((mean.mean() / 150) ** 0.25, *EXPOSURE_BOUNDS)
    return np.asarray(tint * exposure, dtype=np.float32)


def cast_shadow(canvas: Image.Image, sprite: Image.Image, box: Box, light: float, strength: float) -> None:
    """Darken `canvas` (RGB) where a sprite standing in `box` keeps the light away: a soft shadow thrown
    away from the light, and a dark line where it touches the ground."""
    _blend(canvas, *_thrown(sprite, box, light), 0.42 * strength)
    _blend(canvas, *_contact(sprite, box), 0.55 * strength)


def _thrown(sprite: Image.Image, box: Box, light: float) -> tuple[Image.Image, tuple[int, int]]:
    width, height = sprite.size
    flat = max(round(height * 0.30), 2)
    lean = round(-light * flat * 1.4)
    margin = max(round(max(width, height) * 0.06), 4)
    alpha = sprite.getchannel("A").resize((width, flat), Image.Resampling.BILINEAR)
    size = (width + abs(lean) + 2 * margin, flat + 2 * margin)
    left = margin + max(-lean, 0)
    mask = Image.new("L", size)
    mask.paste(alpha, (left, margin))
    slope = lean / flat  # the foot stays, the head leans
    mask = mask.transform(
        size, Image.Transform.AFFINE, (1, slope, -slope * (margin + flat), 0, 1, 0), Image.Resampling.BILINEAR
    )
    mask = mask.filter(ImageFilter.GaussianBlur(margin * 0.45))
    return mask, (box[0] - left, box[3] - flat - margin + round(flat * 0.12))


def _contact(sprite: Image.Image, box: Box) -> tuple[Image.Image, tuple[int, int]]:
    width, height = sprite.size
    foot = sprite.getchannel("A").crop((0, round(height * 0.9), width, height)).getbbox() or (0, 0, width, 1)
    reach = max(foot[2] - foot[0], 4)
    thick = max(round(reach * 0.10), 3)
    margin = max(round(reach * 0.10), 3)
    mask = Image.new("L", (reach + 2 * margin, thick + 2 * margin))
    ImageDraw.Draw(mask).ellipse((margin, margin, margin + reach, margin + thick), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(margin * 0.4))
    return mask, (box[0] + foot[0] - margin, box[3] - round(thick * 0.6) - margin)


def _blend(canvas: Image.Image, mask: Image.Image, corner: tuple[int, int], strength: float) -> None:
    canvas.paste((18, 16, 22), corner, mask.point(lambda value: value * strength))
