"""Whether a generated picture can be used: whole, of the size asked for, not black, not its own input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datagen.encoding import decode_image
from datagen.generators import PictureRequest
from shards.image import ImageError, named_by_content
from shards.sample import EncodedImage

DARK = 12
"""Brightest channel of a picture that counts as black: a failed VAE or a safety filter gives 0."""
SAME = 12
"""Greatest difference of two 64 px thumbnails of one picture: encoding anew as JPEG 75 gives up to 8, a
reference pasted in at a tenth of the side at least 95 (20 rendered targets)."""
THUMBNAIL_PX = 64
BLOCKS = 16
ALIKE = 32  # of a block's mean colour, in its widest channel: light may change a little with an edit
KEPT = 0.6
"""Of 45 rendered edits, shifted by 2 % and zoomed by 4 %, each kept 0.79 or more. Of 490 pairs of other
references 0.76 are told; the rest stand before alike plain backdrops, and are left to verification."""


def check_usable(data: bytes, request: PictureRequest) -> EncodedImage:
    """The image that answers a request.

    Raises:
        ImageError: it is truncated, of another size, black, or one of the references.
    """
    image = named_by_content(data)
    picture = decode_image(image)
    if picture.size != request.size_px:
        raise ImageError("wrong_size", f"expected {request.size_px} pixels, got {picture.size}")
    if is_black(picture):
        raise ImageError("black", "expected a picture, got a black one")
    for number, reference in enumerate(() if request.may_copy else request.references, start=1):
        if is_same_picture(picture, decode_image(reference)):
            raise ImageError("unchanged", f"expected a new picture, got image {number} as it was sent")
    if request.keeps_scene and (kept := kept_share(picture, decode_image(request.references[0]))) < KEPT:
        raise ImageError("other_scene", f"expected {KEPT:.0%} of the picture to be kept, got {kept:.0%}")
    return image


def is_black(picture: Image.Image) -> bool:
    """Whether nothing can be seen."""
    return max(int(high) for _, high in picture.getextrema()) <= DARK  # type: ignore[misc]


def kept_share(edited: Image.Image, original: Image.Image) -> float:
    """Share of an edited picture that looks as the original does there or nearby, 0 to 1.

    Blocks of a 16th of the side, each against the original's 3 x 3 about it: editors shift and zoom
    (QwenLM/Qwen-Image issues 229 and 160). It tells another scene, not whether a subject is unharmed.
    """
    now, before = (_blocks(picture) for picture in (edited, original))
    padded = np.pad(before, ((1, 1), (1, 1), (0, 0)), mode="edge")
    near = [
        padded[down : down + BLOCKS, across : across + BLOCKS] for down in range(3) for across in range(3)
    ]
    apart = np.min([np.abs(now - other).max(axis=2) for other in near], axis=0)
    return float((apart <= ALIKE).mean())


def _blocks(picture: Image.Image) -> NDArray[np.int16]:
    return np.asarray(picture.resize((BLOCKS, BLOCKS), Image.Resampling.BOX), dtype=np.int16)


def is_same_picture(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are one, but for their size and encoding.

    >>> grey, light = (Image.new("RGB", (80, 80), colour) for colour in ("#808080", "#a0a0a0"))
    >>> is_same_picture(grey, grey.resize((99, 99))), is_same_picture(grey, light)
    (True, False)
    """
    return int(np.abs(_thumbnail(one) - _thumbnail(other)).max()) <= SAME


def _thumbnail(picture: Image.Image) -> NDArray[np.int16]:
    small = picture.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16)
