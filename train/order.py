"""An order for one picture: what the images API asks for, checked; no field is left out without a word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from shards.image import MAX_PIXELS, ImageError, image_facts, named_by_content
from shards.sample import EncodedImage
from shards.setting_faults import fault_lines, flags
from shards.settings import Settings
from train.config import ResizeRule
from train.guidance import SamplerConfig
from train.resize import resized_hw

MOST_FIELDS = 32  # each unknown one is compared with those that are known
SHOWN = 400  # letters of what is said about a field; names and values may be a whole body
MOST_REFERENCES = 8  # SconeEval has 4 at most, OmniContext 3; each is up to 5,500 tokens of the context
SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
Format = Literal["png", "jpeg", "webp"]


class OrderError(ValueError):
    """An order that cannot be drawn: *field: expected what, got what; the way out*.

    Attributes:
        status: the HTTP status that says so.
        field: that is at fault; "" for several, or none.
    """

    status: ClassVar[int] = 400

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class OtherModelError(OrderError):
    """Another model is asked for than the one that is served."""

    status = 404


class TooLargeError(OrderError):
    """The device has not the memory for it."""

    status = 413


@dataclass(frozen=True, kw_only=True)
class Order:
    """One picture to draw.

    Attributes:
        prompt: the instruction.
        references: encoded pictures, in the order in which the instruction counts them.
        size: (width, height) in pixels, which the model draws exactly.
        seed: of the noise; nothing else decides it.
        sampler: steps and guidance.
        format: of the file.
    """

    prompt: str
    references: tuple[EncodedImage, ...]
    size: tuple[int, int]
    seed: int
    sampler: SamplerConfig
    format: Format


class _Fields(Settings):
    """The fields of a request, of JSON or of a form, where numbers are words."""

    model: str | None = None
    prompt: str = Field(min_length=1, max_length=32_768)
    n: int = Field(default=1, ge=1, le=1)
    size: str | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    num_inference_steps: int | None = Field(default=None, ge=2, le=1000)
    guidance_scale: float | None = Field(default=None, gt=0, le=100)
    image_guidance_scale: float | None = Field(default=None, gt=0, le=100)
    output_format: Format = "png"
    response_format: Literal["b64_json"] = "b64_json"


@dataclass(frozen=True, kw_only=True)
class Reception:
    """Takes orders for one model.

    Attributes:
        model: the name that it is served under.
        rule: how the model's targets are sized.
        sampler: what an order does not say.
    """

    model: str
    rule: ResizeRule
    sampler: SamplerConfig

    def order(self, fields: Mapping[str, Any], references: Sequence[bytes]) -> Order:
        """The order that a request makes.

        Args:
            fields: by name; a field that is null is one that is not there.
            references: pictures as they were sent.

        Raises:
            OrderError: naming every field that cannot be used.
        """
        given = _read_fields(fields)
        if given.model not in (None, self.model):
            raise OtherModelError(
                f"model: expected {self.model!r}, got {given.model!r:.80}; a recipe that names this server's "
                "model never uses pictures of other weights",
                "model",
            )
        return Order(
            prompt=given.prompt,
            references=_read_pictures(references),
            size=self._size(given.size),
            seed=given.seed,
            sampler=self._sampler(given, has_references=bool(references)),
            format=given.output_format,
        )

    def _size(self, text: str | None) -> tuple[int, int]:
        """The size that is asked for, or the largest square; never another one."""
        if text is None:
            height, width = resized_hw(self.rule.max_px, self.rule.max_px, self.rule)
            return width, height
        found = SIZE.fullmatch(text)
        if not found:
            raise OrderError(f"size: expected pixels like 1024x768, got {text!r:.40}", "size")
        width, height = int(found[1]), int(found[2])
        nearest = resized_hw(width, height, self.rule)
        if nearest != (height, width):
            raise OrderError(
                f"size: expected one that the model draws, got {text!r:.40}; the nearest is "
                f"{nearest[1]}x{nearest[0]}",
                "size",
            )
        return width, height

    def _sampler(self, given: _Fields, *, has_references: bool) -> SamplerConfig:
        if given.image_guidance_scale is not None and not has_references:
            raise OrderError(
                "image_guidance_scale: expected none, as there is no reference image to hold to, got "
                f"{given.image_guidance_scale!r}; /v1/images/edits takes references",
                "image_guidance_scale",
            )
        changes = {
            "steps": given.num_inference_steps,
            "text_scale": given.guidance_scale,
            "image_scale": given.image_guidance_scale,
        }
        told: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        return replace(self.sampler, **told)


def _read_fields(fields: Mapping[str, Any]) -> _Fields:
    if len(fields) > MOST_FIELDS:
        raise OrderError(f"body: expected at most {MOST_FIELDS} fields, got {len(fields):,}")
    given = {name: value for name, value in fields.items() if value is not None}
    known = _Fields.model_fields
    try:
        read = _Fields.model_validate(given)
    except ValidationError as error:
        faults = [*flags(given, known, ""), *fault_lines("", known, error)]
    else:
        faults = list(flags(given, known, ""))
        if not read.prompt.strip():
            faults.append(f"prompt: expected what to draw, got {read.prompt!r:.40}")
        if not faults:
            return read
    faults = [fault[:SHOWN] for fault in faults]
    raise OrderError("\n".join(faults), faults[0].partition(":")[0] if len(faults) == 1 else "")


def _read_pictures(references: Sequence[bytes]) -> tuple[EncodedImage, ...]:
    """The references, by their headers: no pixel is decoded before it is their turn."""
    if len(references) > MOST_REFERENCES:
        raise OrderError(
            f"image: expected at most {MOST_REFERENCES} pictures, got {len(references)}", "image"
        )
    found = []
    pixels = 0
    for number, data in enumerate(references, start=1):
        try:
            image = named_by_content(data)
            facts = image_facts(image)
        except ImageError as error:
            raise OrderError(f"image {number}: {error}", "image") from error
        found.append(image)
        pixels += facts.width * facts.height
    if pixels > MAX_PIXELS:  # of all, as all are decoded at once: 4 bytes a pixel
        raise OrderError(
            f"image: expected at most {MAX_PIXELS:,} pixels in all, got {pixels:,} in {len(found)} pictures; "
            "send smaller ones",
            "image",
        )
    return tuple(found)
