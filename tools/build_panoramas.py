"""Makes `datagen/assets/panoramas.zip` and its table again: CC0 HDR panoramas, tone-mapped."""

from __future__ import annotations

import base64
import csv
import io
import re
import tempfile
from pathlib import Path

import numpy as np
import OpenEXR
from numpy.typing import NDArray
from packages import PANORAMAS, unpack
from pictures import write_zip
from PIL import Image, ImageFilter

# Captions by eye: file names mislead ("sunset" is a piazza, "bridge" a covered walkway).
CAPTIONS = {
    "apartment": ("in", "an empty apartment with a wooden floor", "indoor"),
    "bridge": ("in", "a covered glass walkway", "indoor"),
    "city": ("on", "a wide city square under a grey sky", "outdoor"),
    "dawn": ("in", "a rocky desert at dawn", "outdoor"),
    "esplanade": ("in", "a shopping arcade with a tiled floor", "indoor"),
    "forest": ("in", "a sunlit pine forest", "outdoor"),
    "hall": ("in", "a ballroom with a parquet floor", "indoor"),
    "lab": ("in", "an old green machine hall", "indoor"),
    "lobby": ("in", "a bright lobby with red benches", "indoor"),
    "night": ("in", "a dry field under a starry sky", "outdoor"),
    "park": ("on", "a green meadow on a sunny day", "outdoor"),
    "sky": ("on", "a calm sea under scattered clouds", "outdoor"),
    "studio": ("in", "a photo studio with a white floor", "indoor"),
    "sunrise": ("in", "a grassy field at sunrise", "outdoor"),
    "sunset": ("on", "an old stone piazza at sunset", "outdoor"),
    "venice": ("on", "a cobbled waterfront at dusk", "outdoor"),
    "warehouse": ("in", "an empty concrete warehouse", "indoor"),
    "workshop": ("in", "a factory hall with a green floor", "indoor"),
}
GREY = 0.22  # mean log luminance is brought here, within KEY_BOUNDS
KEY_BOUNDS = (0.5, 6.0)
WHITE = 3.0  # of the extended Reinhard curve
QUALITY = 97  # a view enlarges a pixel five times, and with it the blocks of a lower quality


def read_radiance(script: Path, folder: Path) -> NDArray[np.float32]:
    """The linear RGB picture, [256, 512, 3], inside one of the package's base64 scripts."""
    found = re.search(r"base64,([A-Za-z0-9+/=]+)", script.read_text())
    if found is None:
        raise SystemExit(f"{script.name}: expected a base64 picture, got none; the package has changed")
    file = folder / script.name.replace(".js", "")
    file.write_bytes(base64.b64decode(found[1]))
    with OpenEXR.File(str(file)) as picture:
        channels = picture.channels()
        pixels = channels["RGB" if "RGB" in channels else "RGBA"].pixels[..., :3]
    return np.asarray(pixels, dtype=np.float32)


def tone_map(radiance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels in sRGB. The panoramas were shrunk with a kernel that rings: beside lamps and suns values are
    far below zero, and would show as black or blue dots inside the light."""
    ringing = radiance.min(-1) < -0.02
    ceiling = 16 * np.median(radiance.max(-1)) + 4
    linear = np.clip(_heal(radiance), 0, ceiling)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    key = np.clip(GREY / np.exp(np.mean(np.log(luminance + 0.02))), *KEY_BOUNDS)
    exposed = linear * key
    mapped = np.clip(exposed * (1 + exposed / WHITE**2) / (1 + exposed), 0, 1)
    srgb = np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)
    return _soften((srgb * 255 + 0.5).astype(np.uint8), ringing)


def _soften(pixels: NDArray[np.uint8], ringing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Healed edges are steps; enlarged five times in a view, they would show as stairs."""
    picture = Image.fromarray(pixels)
    near = Image.fromarray(ringing).convert("L").filter(ImageFilter.MaxFilter(7))
    near = near.filter(ImageFilter.GaussianBlur(1))
    return np.asarray(Image.composite(picture.filter(ImageFilter.GaussianBlur(1.6)), picture, near))


def _heal(radiance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every pixel with a negative channel takes the greatest value of its 5x5 neighbourhood."""
    healed = radiance.copy()
    for row, column in np.argwhere(radiance.min(-1) < -0.02):
        rows = slice(max(row - 2, 0), row + 3)
        columns = np.arange(column - 2, column + 3) % radiance.shape[1]
        healed[row, column] = radiance[rows][:, columns].max((0, 1))
    return healed


def build(assets: Path, downloads: Path) -> None:
    """Write panoramas.zip and panoramas.csv into `assets`."""
    package = unpack(PANORAMAS, downloads) / "package" / "hdri"
    pictures: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CAPTIONS:
            buffer = io.BytesIO()
            pixels = tone_map(read_radiance(package / f"{name}.exr.js", Path(folder)))
            Image.fromarray(pixels).save(buffer, "webp", quality=QUALITY, method=6)
            pictures[f"{name}.webp"] = buffer.getvalue()
    write_zip(assets / "panoramas.zip", pictures)
    with (assets / "panoramas.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "name", "preposition", "caption", "setting"])
        table.writerows([f"{name}.webp", name, *words] for name, words in CAPTIONS.items())
