"""Image generation over HTTP: the OpenAI images API as vLLM-Omni serves it; each picture is paid once.

A picture that is no use is a paid reply too: a resumed run finds it in the ledger and goes on to the next
seed, so it makes the same choice and pays nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from datagen.generators import (
    Does,
    Drawn,
    Flag,
    Picture,
    PictureRequest,
    canonical_request,
    check_guidance,
    told,
)
from datagen.images_probe import PROBE_PX, Probe
from datagen.paid import PaidModel, Refused, seeds
from datagen.picture_check import check_usable
from shards.endpoints import Ask
from shards.http_client import Body, Form, RequestError, TransientError
from shards.image import ImageError
from shards.ledger import Ledger, request_hash
from shards.sample import EncodedImage, Json, canonical_json
from shards.served_settings import ServedSettings
from shards.settings import RUN
from shards.stage import Reject

GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"


class ImagesApiConfig(ServedSettings):
    """An image model behind an HTTP API."""

    VERSION: ClassVar[int] = 1

    kind: Literal["images_api"] = "images_api"
    does: tuple[Does, ...] = Field(
        default=("generate", "edit"), min_length=1, description="what the model can do, and is probed for"
    )
    steps: int = Field(default=20, ge=1, description="num_inference_steps")
    guidance_scale: float | None = Field(default=None, description="the server's own unless set")
    true_cfg_scale: float | None = Field(default=None, description="the server's own unless set")
    negative_prompt: str = Field(default="", description="what is not to be seen")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    server_flags: dict[str, Flag] = Field(
        default={}, description="that the server was started with and pixels depend on: dtype, cache backend"
    )
    seeds: int = Field(default=3, ge=1, le=16, description="tried for one picture before it is given up")
    in_flight: Annotated[int, Field(**RUN)] = Field(
        default=4, ge=1, le=256, description="pictures at once at each endpoint, for each worker"
    )
    timeout_s: Annotated[float, Field(**RUN)] = Field(default=600, gt=0, description="of one picture")
    probe_px: Annotated[tuple[PositiveInt, PositiveInt], Field(**RUN)] = Field(
        default=PROBE_PX,
        description="width and height of the pictures that a server is tried with: not square, and of a size "
        "that the model draws",
    )

    @field_validator("probe_px")
    @classmethod
    def _not_square(cls, size_px: tuple[int, int]) -> tuple[int, int]:
        if size_px[0] == size_px[1]:
            raise ValueError("another width than height, or an ignored size would not show")
        return size_px

    @model_validator(mode="after")
    def _check_guidance(self) -> ImagesApiConfig:
        check_guidance(self.true_cfg_scale, self.negative_prompt)
        return self

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its pictures depend on, as declared."""
        without = {"seeds", "does"}
        declared = {name: value for name, value in self.computed().items() if name not in without}
        return {"generator": "images_api", "version": self.VERSION, **declared}

    def build(self, ledger: Ledger) -> ImagesApi:
        """The generator on its worker; it speaks to no one before a picture is asked that was never paid."""
        return ImagesApi(self, ledger)


class ImagesApi:
    """Draws by asking endpoints; many pictures in flight."""

    def __init__(self, config: ImagesApiConfig, ledger: Ledger) -> None:
        self._config = config
        self._model = PaidModel(
            config, ledger, Probe(config.model, config.does, self._probed, config.probe_px)
        )
        self.close = self._model.close
        self.take_counts = self._model.take_counts

    def draw(self, requests: Sequence[PictureRequest]) -> list[Drawn]:
        """A picture for each request, in order, or why there is none.

        Raises:
            EndpointError: no more can be asked: all endpoints are down, or one fails the probe.
        """
        once = list(dict.fromkeys(requests))
        self._model.look_again([self._address(request, request.seed) for request in once])
        drawn = dict(zip(once, self._model.run([self._draw(request) for request in once]), strict=True))
        return [drawn[request] for request in requests]

    async def _draw(self, request: PictureRequest) -> Drawn:
        """The first picture of use. What went before is told with it."""
        refused = Refused()
        for seed in seeds(request.seed, self._config.seeds):
            try:
                image = check_usable(await self._paid(request, seed), request)
            except RequestError as error:
                self._model.counts[f"error: {error.reason}"] += 1
                return Reject(reason=error.reason, detail=f"{error}; {told(request)}")
            except ImageError as error:
                self._model.counts[f"unusable: {error.reason}"] += 1
                refused.note(seed, error)
            else:
                return Picture(image=image, made_by=self._made_by(request, seed, refused.tried))
        return Reject(reason="unusable_picture", detail=f"{refused.words}; {told(request)}")

    def _made_by(self, request: PictureRequest, seed: int, refused: Sequence[Json]) -> Mapping[str, Json]:
        return {**self._config.identity, "prompt": request.prompt, "seed": seed, "refused": refused}

    async def _paid(self, request: PictureRequest, seed: int) -> bytes:
        """The reply to a request: from the ledger, or asked and committed to it."""
        path, _ = picture_body(request, seed, self._config)
        return await self._model.reply(
            self._address(request, seed),
            path,
            lambda: picture_body(request, seed, self._config)[1],
            lambda answer: read_picture(path, answer),
        )

    def _address(self, request: PictureRequest, seed: int) -> bytes:
        return request_hash(canonical_request(request, seed, self._config.identity))

    async def _probed(self, ask: Ask, request: PictureRequest) -> bytes:
        path, body = picture_body(request, request.seed, self._config)
        return read_picture(path, await ask(path, body))


def picture_body(request: PictureRequest, seed: int, config: ImagesApiConfig) -> tuple[str, Body]:
    """Path and body that ask for a picture: JSON without references, a form with them."""
    asked: dict[str, Json] = {
        "model": config.model,
        "prompt": request.prompt,
        "n": 1,
        "size": f"{request.size_px[0]}x{request.size_px[1]}",
        "seed": seed,
        "num_inference_steps": config.steps,
        "guidance_scale": config.guidance_scale,
        "true_cfg_scale": config.true_cfg_scale,
        "negative_prompt": config.negative_prompt or None,
        "output_format": config.output_format,
        "response_format": "b64_json",
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if not request.references:
        return GENERATE, canonical_json(given)
    words: list[tuple[str, str | EncodedImage]] = [(name, str(value)) for name, value in given.items()]
    return EDIT, Form((*words, *(("image[]", image) for image in request.references)))


def read_picture(path: str, answer: Any) -> bytes:  # noqa: ANN401, what a server says
    """The bytes of the one picture in an answer.

    Raises:
        TransientError: there is none; it was not paid.
    """
    try:
        (entry,) = answer["data"]
        return base64.b64decode(entry["b64_json"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise TransientError(
            "no_picture", f"{path}: expected data with one b64_json, got {answer!r:.200}"
        ) from error
