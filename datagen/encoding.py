"""Pictures to bytes and back, as the renderer writes its images."""

from __future__ import annotations

import io

from PIL import Image

from shards.image import check_image
from shards.sample import EncodedImage

JPEG_QUALITY = 92
# Of rendered pictures in that quality, measured on the demo's 1,700 pictures of 512 px: 0.125 to 0.137.
BYTES_A_PIXEL = 0.13
FILE_BYTES = 2_000  # of a sample beside its pictures: JSON, headers, padding


def encode_jpeg(picture: Image.Image) -> EncodedImage:
    """`picture` (RGB) as a JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=JPEG_QUALITY, subsampling=0)
    return EncodedImage(data=buffer.getvalue(), extension="jpg")


def rendered_bytes(images: float, side_px: int) -> float:
    """About what a sample of so many rendered pictures takes on a disk."""
    return images * side_px**2 * BYTES_A_PIXEL + FILE_BYTES


def decode_image(image: EncodedImage) -> Image.Image:
    """The whole image, RGB; what is transparent becomes white.

    Raises:
        ImageError: its bytes are truncated, too large or no image at all.
    """
    check_image(image)
    picture = Image.open(io.BytesIO(image.data))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
