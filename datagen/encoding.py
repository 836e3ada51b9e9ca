"""Pictures to bytes and back: how the renderer writes its images, and whether bytes are an image."""

from __future__ import annotations

import io

from PIL import Image

from shards.sample import EncodedImage

JPEG_QUALITY = 92
MAX_PIXELS = 50_000_000


class UndecodableImageError(ValueError):
    """Bytes that are not the image they should be."""


def encode_jpeg(picture: Image.Image) -> EncodedImage:
    """`picture` (RGB) as a JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=JPEG_QUALITY, subsampling=0)
    return EncodedImage(data=buffer.getvalue(), extension="jpg")


def decode_image(image: EncodedImage) -> Image.Image:
    """The whole image, RGB.

    Raises:
        UndecodableImageError: its bytes are truncated, too large or no image at all.
    """
    try:
        picture = Image.open(io.BytesIO(image.data))
        if picture.width * picture.height > MAX_PIXELS:
            raise UndecodableImageError(f"expected at most {MAX_PIXELS} pixels, got {picture.size!r}")
        return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UndecodableImageError(f"expected an image, got {len(image.data)} bytes ({error})") from error
