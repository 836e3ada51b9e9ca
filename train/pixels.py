"""Encoded images as pixels of the size an encoder wants."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from shards.sample import EncodedImage
from train.config import ConfigError, ResizeRule
from train.resize import resized_hw

# C channels, H and W pixels


def open_rgb(data: bytes) -> Image.Image:
    """An image in RGB; transparent parts on white. Source: facts 1.8.

    Raises:
        OSError: the file breaks off or is no image.
    """
    return rgb(Image.open(io.BytesIO(data)))


def open_picture(path: Path) -> Image.Image:
    """The same of a user's own file, turned as its EXIF says; those of sets are upright already.

    Raises:
        ConfigError: the file is no picture that can be used.
    """
    try:
        with Image.open(path) as opened:
            return rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: expected a picture, got no file") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: expected a picture, got: {error}") from error


def rgb(image: Image.Image) -> Image.Image:
    """An image in RGB; transparent parts on white."""
    if image.mode in ("RGBA", "LA", "P") and (image.mode != "P" or "transparency" in image.info):
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer.getchannel("A"))
    return image.convert("RGB")


def resized_pixels(image: Image.Image, rule: ResizeRule) -> Tensor:
    """[3, H, W] uint8 of the size that `rule` gives, bicubic."""
    height, width = resized_hw(image.width, image.height, rule)
    resized = (
        image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
    )
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def as_unit(pixels: Tensor) -> Tensor:
    """uint8 as float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_image(image_CHW: Tensor) -> Image.Image:
    """A picture of values about [-1, 1]; what lies outside is cut off."""
    pixels = ((image_CHW.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def decode(image: EncodedImage, where: str) -> Image.Image:
    """An encoded image in RGB, all of it; errors say which."""
    try:
        return open_rgb(image.data)
    except OSError as error:
        error.add_note(
            f"{where}: expected a whole image; make its directory again, with `damaged` files refused"
        )
        raise


def side_by_side(images: Sequence[Image.Image], height_px: int) -> Image.Image:
    """Pictures of one height in a row, each as wide as its own shape asks."""
    scaled = [
        image.resize((max(1, round(image.width * height_px / image.height)), height_px)) for image in images
    ]
    row = Image.new("RGB", (sum(image.width for image in scaled), height_px))
    left = 0
    for image in scaled:
        row.paste(image, (left, 0))
        left += image.width
    return row
