"""What an encoded image is, and whether it can be trusted: type, size, whole or truncated."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageFile, _imaging

from shards.reason import ReasonError
from shards.sample import EncodedImage, Sample

MAX_PIXELS = 64 << 20
# Pillow gives pixels back to the system after each image, and the next one's fresh pages cost an import a
# fourth of its decoding: 10.3 ms a JPEG of 1024 px and 1,100 page faults, with blocks kept 7.9 and 95.
KEPT_BLOCKS = 4  # of 16 MB at most
_imaging.set_blocks_max(KEPT_BLOCKS)
# So does glibc with what Python frees at the top of its memory, from twice the largest block that was ever
# freed: pictures of 500 KB, read and let go, came from fresh pages each time (2.3 us a page here; 12,000 of
# them among 120 pictures imported, with a larger block freed once 400).
KEPT_BYTES = 32 << 20  # of each thread's memory
bytearray(KEPT_BYTES // 2)
MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}
FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
MODES = ("RGB", "RGBA", "L", "LA", "P")
PNG_BITS = 24  # where a PNG says how many bits a channel has


class ImageError(ReasonError, ValueError):
    """An image that cannot be used: *expected what, got what*."""


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image says: pixels wide and high."""

    width: int
    height: int


def named_by_content(data: bytes) -> EncodedImage:
    """The image, its extension told by its first bytes.

    Raises:
        ImageError: no PNG, JPEG or WebP.
    """
    for magic, extension in MAGIC.items():
        if data.startswith(magic):
            return EncodedImage(data, extension)
    raise ImageError("not_an_image", f"expected a PNG, JPEG or WebP, got {data[:12]!r}")


def image_facts(image: EncodedImage) -> ImageFacts:
    """Read an image's header, no pixels.

    Raises:
        ImageError: not an image, not of the type its extension says, animated, of a mode that training
            would silently change (CMYK, 16 bit), or with more pixels than `MAX_PIXELS`.
    """
    with _opened(image) as opened:
        return ImageFacts(*opened.size)


def check_image(image: EncodedImage) -> ImageFacts:
    """Read an image to its last pixel.

    Raises:
        ImageError: as `image_facts`, or the pixels are damaged or cut off.
    """
    with load_image(image) as loaded:
        return ImageFacts(*loaded.size)


def load_image(image: EncodedImage) -> ImageFile.ImageFile:
    """An image with all its pixels decoded, checked.

    Raises:
        ImageError: as `image_facts`, or the pixels are damaged or cut off.
    """
    opened = _opened(image)
    try:
        opened.load()
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        opened.close()
        raise ImageError(
            "undecodable", f"expected a whole image, got one that breaks off: {error}"
        ) from error
    return opened


def check_sample(sample: Sample) -> dict[str, ImageFacts]:
    """Read every image of a sample to its last pixel.

    Raises:
        ImageError: naming the image.
    """
    facts = {}
    for name, image in sample.images.items():
        try:
            facts[name] = check_image(image)
        except ImageError as error:
            raise ImageError(error.reason, f"{sample.key}.{name}: {error}") from error
    return facts


def _opened(image: EncodedImage) -> ImageFile.ImageFile:
    if not image.data:
        raise ImageError("empty", "expected an image, got a file of 0 bytes")
    expected = FORMATS[image.extension]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # size and mode are judged below, by our own limits
            opened = Image.open(io.BytesIO(image.data), formats=("JPEG", "PNG", "WEBP"))
    except Image.DecompressionBombError as error:
        raise ImageError("too_many_pixels", f"expected at most {MAX_PIXELS} pixels: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError("undecodable", f"expected {expected}, got {image.data[:12]!r}") from error
    _check_header(opened, expected, image.data)
    return opened


def _check_header(opened: ImageFile.ImageFile, expected: str, data: bytes) -> None:
    if opened.format != expected and not (opened.format == "MPO" and expected == "JPEG"):
        raise ImageError("wrong_type", f"expected {expected} by its extension, got {opened.format}")
    if opened.width * opened.height > MAX_PIXELS:
        raise ImageError(
            "too_many_pixels", f"expected at most {MAX_PIXELS} pixels, got {opened.width}x{opened.height}"
        )
    if getattr(opened, "n_frames", 1) != 1 and opened.format != "MPO":
        raise ImageError("animated", f"expected one frame, got {getattr(opened, 'n_frames', 1)}")
    if opened.format == "PNG" and data[PNG_BITS] == 16:  # Pillow drops the lower 8
        raise ImageError("colour_mode", "expected 8 bits a channel, got 16")
    if opened.mode not in MODES:
        raise ImageError("colour_mode", f"expected 8-bit grey or RGB, got mode {opened.mode}")
