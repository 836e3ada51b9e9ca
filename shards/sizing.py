"""Images as a model gets them over HTTP: never larger than asked, and otherwise the bytes of the sample."""

from __future__ import annotations

import io
import math

from PIL import Image

from shards.image import check_image
from shards.sample import EncodedImage

VERSION = 1
QUALITY = 95


def size_image(image: EncodedImage, max_pixels: int) -> EncodedImage:
    """The image itself if it is small enough, else a smaller JPEG of it.

    Raises:
        ImageError: it cannot be decoded.
    """
    facts = check_image(image)
    if facts.width * facts.height <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / (facts.width * facts.height))
    size = max(1, int(facts.width * scale)), max(1, int(facts.height * scale))
    with Image.open(io.BytesIO(image.data)) as opened:
        picture = _on_white(opened).resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return EncodedImage(file.getvalue(), "jpg")


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white, as in training."""
    if picture.mode not in ("RGBA", "LA", "P"):
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")
