"""Names the colour of a cut-out picture from its pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Upper bounds of hue in degrees; red wraps around. By eye on the colour families (hearts, circles, squares).
HUES = (
    (16, "red"),
    (44, "orange"),
    (70, "yellow"),
    (165, "green"),
    (255, "blue"),
    (292, "purple"),
    (335, "pink"),
    (361, "red"),
)
MAJORITY = 0.55  # of the opaque pixels must agree, or the picture has no one colour


def colour_shares(picture: Image.Image) -> dict[str, float]:
    """Share of the opaque pixels by colour name."""
    rgba = np.asarray(picture.convert("RGBA").resize((64, 64)))
    opaque = rgba[rgba[..., 3] > 200][:, :3]
    hsv = np.asarray(Image.fromarray(opaque[None]).convert("HSV"), dtype=np.float64)[0] if len(opaque) else []
    names = [colour_name(*pixel) for pixel in hsv]
    return {name: names.count(name) / len(names) for name in sorted(set(names))}


def colour_name(hue: float, saturation: float, value: float) -> str:
    """The name of one pixel; all three in 0..255 as Pillow's HSV has them."""
    if value < 60 or (value < 110 and saturation < 110):
        return "black"
    if saturation < 40:
        return "white" if value > 215 else "grey"
    degrees = hue * 360 / 255
    name = next(name for bound, name in HUES if degrees < bound)
    if name in ("red", "orange") and value < 165 and saturation < 215:
        return "brown"
    if name == "red" and saturation < 130 and value > 180:
        return "pink"
    return "beige" if name in ("orange", "yellow") and saturation < 125 else name


def main_colour(picture: Image.Image) -> str:
    """The colour of most of the picture, or "" where no colour has a clear majority."""
    shares = colour_shares(picture)
    best = max(shares, key=lambda name: shares[name], default="")
    return best if best and shares[best] >= MAJORITY else ""
