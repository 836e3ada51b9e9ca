"""Image models in the worker's own process, by diffusers: for those who have GPUs and no server.

A worker needs its share of a GPU (`run: {gpus_per_worker: 1}`). One picture is drawn at a time, from noise of
its own seed made on the CPU: what else is drawn beside it changes nothing. diffusers and torch are imported
when the first picture is drawn that was never paid for.
"""

from __future__ import annotations

import inspect
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import Field, model_validator

from datagen.encoding import decode_image
from datagen.generators import Does, Drawn, Picture, PictureRequest, canonical_request, check_guidance, told
from datagen.paid import Refused, seeds
from datagen.picture_check import check_usable
from shards.image import ImageError
from shards.ledger import Ledger, request_hash
from shards.sample import Json
from shards.settings import RUN, Settings
from shards.stage import Reject


class DiffusersMissingError(RuntimeError):
    """A recipe asks for diffusers where it is not installed."""


class DiffusersConfig(Settings):
    """A diffusers pipeline, loaded by each worker."""

    VERSION: ClassVar[int] = 1

    kind: Literal["diffusers"] = "diffusers"
    model: str = Field(min_length=1, description="a folder, or a name that the hub knows")
    revision: str = Field(min_length=1, description="of the model's weights")
    does: tuple[Does, ...] = Field(
        default=("generate",), min_length=1, description="what the pipeline can do"
    )
    steps: int = Field(default=20, ge=1, description="num_inference_steps")
    guidance_scale: float | None = Field(default=None, description="the pipeline's own unless set")
    true_cfg_scale: float | None = Field(default=None, description="the pipeline's own unless set")
    negative_prompt: str = Field(default="", description="what is not to be seen")
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    seeds: int = Field(default=3, ge=1, le=16, description="tried for one picture before it is given up")
    device: Annotated[str, Field(**RUN)] = Field(default="", description="a GPU if there is one, unless set")

    @model_validator(mode="after")
    def _check_guidance(self) -> DiffusersConfig:
        check_guidance(self.true_cfg_scale, self.negative_prompt)
        return self

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its pictures depend on, as declared."""
        declared = {n: value for n, value in self.computed().items() if n not in ("seeds", "does")}
        return {"generator": "diffusers", "version": self.VERSION, **declared}

    def build(self, ledger: Ledger) -> Diffusers:
        """The generator on its worker; it loads nothing before a picture is drawn that was never paid."""
        return Diffusers(self, ledger)


class Diffusers:
    """Draws one picture after the other."""

    def __init__(self, config: DiffusersConfig, ledger: Ledger) -> None:
        self._config = config
        self._ledger = ledger
        self._counts: Counter[str] = Counter()
        self._pipeline: Any = None

    def close(self) -> None:
        """Let the weights go."""
        self._pipeline = None

    def take_counts(self) -> dict[str, float]:
        """Pictures drawn since the last call, and those of no use, by reason."""
        counted: dict[str, float] = dict(self._counts)
        self._counts.clear()
        return counted

    def draw(self, requests: Sequence[PictureRequest]) -> list[Drawn]:
        """A picture for each request, in order, or why there is none.

        Raises:
            DiffusersMissingError: it is not installed.
        """
        once = {request: self._draw(request) for request in dict.fromkeys(requests)}
        return [once[request] for request in requests]

    def _draw(self, request: PictureRequest) -> Drawn:
        """The first picture of use. What went before is told with it."""
        refused = Refused()
        for seed in seeds(request.seed, self._config.seeds):
            try:
                image = check_usable(self._paid(request, seed), request)
            except ImageError as error:
                self._counts[f"unusable: {error.reason}"] += 1
                refused.note(seed, error)
            else:
                made_by = {**self._config.identity, "prompt": request.prompt, "seed": seed}
                return Picture(image=image, made_by={**made_by, "refused": refused.tried})
        return Reject(reason="unusable_picture", detail=f"{refused.words}; {told(request)}")

    def _paid(self, request: PictureRequest, seed: int) -> bytes:
        """The picture of a request: from the ledger, or drawn and committed to it."""
        address = request_hash(canonical_request(request, seed, self._config.identity))
        if (kept := self._ledger.get(address)) is not None:
            return kept
        if self._pipeline is None:
            self._pipeline = load_pipeline(self._config)
        picture = self._made(request, seed)
        file = io.BytesIO()
        picture.save(file, "png")
        self._counts["pictures"] += 1
        self._ledger.commit({address: file.getvalue()})
        return file.getvalue()

    def _made(self, request: PictureRequest, seed: int) -> Image.Image:
        import torch

        config = self._config
        references = [decode_image(image) for image in request.references]
        asked = {
            "prompt": request.prompt,
            "image": None if not references else references[0] if len(references) == 1 else references,
            "width": request.size_px[0],
            "height": request.size_px[1],
            "num_inference_steps": config.steps,
            "guidance_scale": config.guidance_scale,
            "true_cfg_scale": config.true_cfg_scale,
            "negative_prompt": config.negative_prompt or None,
            "generator": torch.Generator("cpu").manual_seed(seed),
        }
        given = {name: value for name, value in asked.items() if value is not None}
        picture: Image.Image = self._pipeline(**_known(self._pipeline, given)).images[0]
        return picture


def _known(pipeline: Any, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401, a diffusers pipeline
    """What a pipeline takes; one that edits takes its size from its image and has no width.

    Raises:
        TypeError: it does not take images, and one is to be edited.
    """
    takes = inspect.signature(type(pipeline).__call__).parameters
    unknown = set(given) - set(takes) - {"width", "height"}
    if unknown:
        raise TypeError(
            f"{type(pipeline).__name__}: expected a pipeline that takes {', '.join(sorted(unknown))}, got "
            "one that does not; see `does`, guidance_scale, true_cfg_scale and negative_prompt"
        )
    return {name: value for name, value in given.items() if name in takes}


def load_pipeline(config: DiffusersConfig) -> Any:  # noqa: ANN401, a diffusers pipeline
    """The pipeline with its weights, on its device.

    Raises:
        DiffusersMissingError: diffusers is not installed.
    """
    try:
        version("diffusers")
    except PackageNotFoundError as error:
        raise DiffusersMissingError(
            f"image model {config.model}: expected diffusers for `kind: diffusers`, got none; "
            "pip install 'scone-bakery[diffusers]', or name a server by `kind: images_api`"
        ) from error
    import torch
    from diffusers import DiffusionPipeline

    dtype = getattr(torch, config.dtype)
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    untyped: Any = DiffusionPipeline
    pipeline = untyped.from_pretrained(
        config.model, revision=config.revision, dtype=dtype, use_safetensors=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
