"""Image generators: the one protocol that a server and a test's fake keep, and what passes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from shards.image import image_facts
from shards.sample import EncodedImage, Json, canonical_json
from shards.stage import Reject

STEP_PX = 16  # sides of pictures are multiples of it, as image models have them


@dataclass(frozen=True, kw_only=True)
class PictureRequest:
    """What is to be drawn.

    Attributes:
        prompt: in words.
        references: images that it is drawn from, in the order in which the prompt counts them.
        size_px: width and height.
        seed: 0 to 2**31 - 1; always sent, as a server that chooses one does not tell it.
        keeps_scene: whether it must still show most of its first reference; another seed is tried if not.
        may_copy: whether a reference as it was sent is an answer too: where a model is measured it is one.
    """

    prompt: str
    references: tuple[EncodedImage, ...] = ()
    size_px: tuple[int, int]
    seed: int
    keeps_scene: bool = False
    may_copy: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture and what made it.

    Attributes:
        image: as the generator gave it.
        made_by: model, revision, parameters, prompt, seed, and the attempts before that were no use.
    """

    image: EncodedImage
    made_by: Mapping[str, Json]


Drawn: TypeAlias = Picture | Reject
Does: TypeAlias = Literal["generate", "edit"]
Flag: TypeAlias = int | float | str | bool


class Generator(Protocol):
    """Draws many pictures at once. Whatever is paid for lies in the ledger before it is returned."""

    def draw(self, requests: Sequence[PictureRequest]) -> list[Drawn]:
        """A picture for each request, in order, or why there is none."""

    def take_counts(self) -> dict[str, float]:
        """What was asked, and what was no use, since the last call."""

    def close(self) -> None:
        """End what it holds."""


def fitted(image: EncodedImage, largest_px: int) -> tuple[int, int]:
    """Width and height to ask a generator for: the image's own, within `largest_px`, multiples of 16.

    Raises:
        ImageError: the image's header cannot be read.
    """
    facts = image_facts(image)
    scale = min(1.0, largest_px / max(facts.width, facts.height))
    width, height = (
        max(STEP_PX, round(side * scale / STEP_PX) * STEP_PX) for side in (facts.width, facts.height)
    )
    return width, height


def check_guidance(true_cfg_scale: float | None, negative_prompt: str) -> None:
    """Refuse a guidance that pipelines leave out with a warning that no client sees.

    Source: diffusers' and vLLM-Omni's pipelines of Qwen-Image and Qwen-Image-Edit: true guidance is from a
    negative prompt, and there is none without one.

    Raises:
        ValueError: it would be left out.
    """
    if (true_cfg_scale or 0) > 1 and not negative_prompt:
        raise ValueError(
            f'true_cfg_scale: expected a negative_prompt beside it, " " will do, got {true_cfg_scale!r} '
            "alone: models ignore it"
        )


def canonical_request(request: PictureRequest, seed: int, identity: Mapping[str, Json]) -> bytes:
    """The canonical request: whatever the picture depends on."""
    return canonical_json(
        {
            "generator": identity,
            "prompt": request.prompt,
            "references": [hashlib.sha256(image.data).hexdigest() for image in request.references],
            "size_px": list(request.size_px),
            "seed": seed,
        }
    )


def told(request: PictureRequest) -> str:
    """A request in a few words, for a reject."""
    return f"prompt {request.prompt[:120]!r}, {len(request.references)} references, seed {request.seed}"
