"""What the embedded judge sees of pixels: decoded pictures, and EfficientNet-lite0's maps of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shards.image import ImageError, image_facts
from shards.sample import EncodedImage

Pixels: TypeAlias = NDArray[np.float32]  # [H, W, 3] in 0..255, RGB, unless it says otherwise

STRIDE = 32  # sides must be multiples of it: the network's padding is written for those
GEM_POWER = 3.0  # facts/assets.md: GeM with p=3, minus the catalogue's mean, L2


@dataclass(frozen=True)
class Maps:
    """The network's view of one picture.

    Attributes:
        log_odds: that a cell of 4 x 4 pixels shows a subject and not its surroundings, [H/4, W/4].
        features: [1280, H/32, W/32].
    """

    log_odds: NDArray[np.float32]
    features: NDArray[np.float32]


class Network:
    """EfficientNet-lite0 and its objectness decoder on onnxruntime.

    One thread and one picture at a time, so that results repeat to the bit.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def look(self, pixels: Pixels) -> Maps:
        """The maps of a picture whose sides are multiples of 32."""
        scaled = np.ascontiguousarray(((pixels - 127) / 128).transpose(2, 0, 1)[None], dtype=np.float32)
        log_odds, features = self._session.run(("log_odds", "stride32"), {"image": scaled})
        return Maps(log_odds[0, 0], features[0])


def pool(map_CHW: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: N803
    """Generalised mean over positions, [C].

    Source: Radenovic et al. 2018, eq. 3.
    """
    raised = np.mean(np.maximum(map_CHW, 1e-6).reshape(len(map_CHW), -1) ** GEM_POWER, axis=1)
    return np.asarray(raised ** (1 / GEM_POWER), dtype=np.float32)


def normalise(vector: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """`vector` minus the catalogue's mean, at length 1: a dot product is then a cosine."""
    centred = vector - mean
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), dtype=np.float32)


def decode(image: EncodedImage) -> Image.Image:
    """The picture, upright, RGB; what is transparent becomes white, as the trainers' loader has it.

    Raises:
        ImageError: the bytes are not an image that `shards.image` trusts.
    """
    image_facts(image)
    try:
        return _flatten(ImageOps.exif_transpose(Image.open(io.BytesIO(image.data))))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise ImageError(
            "undecodable", f"expected a whole image, got one that breaks off: {error}"
        ) from error


def _flatten(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def fit(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture with its longer side at `side_px`, both sides rounded to multiples of 32."""
    factor = side_px / max(picture.size)
    width, height = (max(round(side * factor / STRIDE), 1) * STRIDE for side in picture.size)
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def to_pixels(picture: Image.Image) -> Pixels:
    """[H, W, 3] float32 in 0..255."""
    return np.asarray(picture, dtype=np.float32)
