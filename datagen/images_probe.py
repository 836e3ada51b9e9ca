"""What an images server must show before it draws: the model, seeds, sizes and references that count.

Servers have ignored parameters without a word (vllm-omni issues 2081, 2082), so each one is tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from PIL import Image

from datagen.encoding import decode_image, encode_jpeg
from datagen.generators import PictureRequest
from datagen.picture_check import is_black, is_same_picture
from shards.endpoints import Ask
from shards.http_client import EndpointError, RequestError, TransientError
from shards.image import ImageError, named_by_content
from shards.sample import EncodedImage
from shards.served_model import check_model

PROBE = "A red kite over a green hill"
PROBE_WITH = "The striped board of image 1, upright on a green hill"
PROBE_PX = (512, 256)
"""Not square, not the usual 1024: a server that ignores the size shows it. Not every model draws it."""
SEEDS = (11, 12)


class SeedNotRepeatedError(EndpointError):
    """The same seed gave another picture."""


class SeedIgnoredError(EndpointError):
    """Another seed gave the same picture."""


class BlackPictureError(EndpointError):
    """The picture is black."""


class SizeIgnoredError(EndpointError):
    """The picture has another size than asked for."""


class ReferencesIgnoredError(EndpointError):
    """Other references gave the same picture."""


Draw = Callable[[Ask, PictureRequest], Awaitable[bytes]]


class Probe:
    """Admits endpoints that serve the model and honour what they are sent.

    Args:
        model: name that the endpoints must serve.
        does: which of "generate" and "edit" will be asked.
        draw: asks one endpoint for one picture.
        size_px: width and height of what is asked for.
    """

    def __init__(
        self, model: str, does: Sequence[str], draw: Draw, size_px: tuple[int, int] = PROBE_PX
    ) -> None:
        self._model = model
        self._does = does
        self._draw = draw
        self._size_px = size_px

    async def __call__(self, url: str, ask: Ask) -> None:
        """Admit the endpoint at `url`.

        Raises:
            RequestError: it is not ready.
            EndpointError: it must not be used; the class says why.
        """
        await check_model(url, ask, self._model)
        if "generate" in self._does:
            first = PictureRequest(prompt=PROBE, size_px=self._size_px, seed=SEEDS[0])
            await self._check_seeds(url, ask, first)
        if "edit" in self._does:
            await self._check_edits(url, ask)

    async def _check_edits(self, url: str, ask: Ask) -> None:
        across, down = _stripes(across=True), _stripes(across=False)
        first = PictureRequest(prompt=PROBE_WITH, references=(across,), size_px=self._size_px, seed=SEEDS[0])
        shown = await self._check_seeds(url, ask, first)
        other = PictureRequest(prompt=PROBE_WITH, references=(down,), size_px=self._size_px, seed=SEEDS[0])
        if is_same_picture(shown, await self._picture(ask, other)):
            raise ReferencesIgnoredError(
                f"{url}: expected another picture from another reference, got the same; the server must "
                "read repeated image[] parts of /v1/images/edits: see that its model edits"
            )

    async def _check_seeds(self, url: str, ask: Ask, request: PictureRequest) -> Image.Image:
        """The picture of the first seed, once it is known that seed and size count."""
        first = await self._picture(ask, request)
        if first.size != request.size_px:
            raise SizeIgnoredError(
                f"{url}: expected {request.size_px} pixels, got {first.size}; serve a model that takes a "
                "size, with a server that passes it on"
            )
        if is_black(first):
            raise BlackPictureError(
                f"{url}: expected a picture, got a black one; serve the model in bfloat16 or float32, "
                "without a filter that blackens pictures"
            )
        if not is_same_picture(first, await self._picture(ask, request)):
            raise SeedNotRepeatedError(
                f"{url}: expected the same picture for seed {request.seed} again, got another; switch off "
                "what changes pixels between runs (cache backends), or update the server"
            )
        again = PictureRequest(
            prompt=request.prompt, references=request.references, size_px=request.size_px, seed=SEEDS[1]
        )
        if is_same_picture(first, await self._picture(ask, again)):
            raise SeedIgnoredError(
                f"{url}: expected another picture for seed {again.seed} than for {request.seed}, got the "
                "same; the server ignores seeds: update it"
            )
        return first

    async def _picture(self, ask: Ask, request: PictureRequest) -> Image.Image:
        try:
            data = await self._draw(ask, request)
        except TransientError:
            raise
        except RequestError as error:
            width, height = request.size_px
            way_out = f"the probe asks for {width}x{height}: probe_px sets a size that the model draws"
            raise RequestError(error.reason, f"{error}; {way_out}") from error
        try:
            return decode_image(named_by_content(data))
        except ImageError as error:
            raise TransientError(error.reason, f"probe: {error}") from error


def _stripes(*, across: bool) -> EncodedImage:
    """Eight black and white bars, 256 pixels square."""
    bars = np.tile(np.repeat(np.array([0, 255], dtype=np.uint8).repeat(32)[None], 256, 0), (1, 4))
    return encode_jpeg(Image.fromarray(bars.T if across else bars).convert("RGB"))
