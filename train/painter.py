"""Draws orders with one model: pictures decoded, drawn, and written as files."""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from PIL import Image, ImageOps

from shards.image import ImageError, load_image
from shards.sample import EncodedImage
from train.bridge_config import BridgeConfig
from train.draw import Studio, draw
from train.drawing_queue import DeviceLostError, Watch
from train.order import Order, OrderError, TooLargeError
from train.pixels import rgb
from train.threads import limited_threads

KEY = "generate"
"""Stands where a sample's key does in the noise's name: a seed draws what `bakery generate` draws with it."""
WRITING = {"png": {}, "jpeg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}


@dataclass(frozen=True, kw_only=True)
class Painter:
    """A model that draws orders, one at a time; the same order gives the same bytes on one machine.

    Attributes:
        studio: model and encoders.
        bridge: used where an order's sampler says so.
        cpu_threads: that multiply; on a CPU other numbers give other last bits.
    """

    studio: Studio
    bridge: BridgeConfig | None
    cpu_threads: int

    def __call__(self, order: Order, watch: Watch) -> bytes:
        """The file.

        Args:
            order: what to draw.
            watch: called after every step; what it raises ends the drawing.

        Raises:
            OrderError: a reference is damaged, the prompt too long, or the device too small.
            DeviceLostError: nothing can be drawn any more.
        """
        references = [_decoded(image, number) for number, image in enumerate(order.references, start=1)]
        self._check_length(order)
        try:
            with limited_threads(self.cpu_threads):
                picture = draw(
                    self.studio,
                    references,
                    order.prompt,
                    order.size,
                    KEY,
                    order.sampler,
                    self.bridge,
                    order.seed,
                    watch=lambda *_: watch(),
                )
        except torch.OutOfMemoryError as error:
            raise self._too_large(order) from error
        except torch.AcceleratorError as error:
            raise DeviceLostError(f"expected a picture, got: {error}") from error
        return _written(picture, order.format)

    def _check_length(self, order: Order) -> None:
        most = self.studio.config.language.max_positions
        needed = len(self.studio.tokenizer.encode(order.prompt)) + 2 + 2 * len(order.references) + 1
        if needed > most:
            raise OrderError(f"prompt: expected at most {most} positions, got {needed}; shorten it", "prompt")

    def _too_large(self, order: Order) -> TooLargeError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = "x".join(map(str, order.size))
        return TooLargeError(
            f"size: expected what the device has memory for, got {size} with {len(order.references)} "
            "references; ask for less, or serve on a larger one",
            "size",
        )


def _decoded(image: EncodedImage, number: int) -> Image.Image:
    """A reference in RGB, turned as its EXIF says."""
    try:
        return rgb(ImageOps.exif_transpose(load_image(image)))
    except ImageError as error:
        raise OrderError(f"image {number}: {error}", "image") from error


def _written(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **WRITING[form])
    return file.getvalue()
