"""What a sample is in tokens: its segments, their order and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Grid(NamedTuple):
    """Tokens of an image: rows and columns."""

    height: int
    width: int

    @property
    def size(self) -> int:
        return self.height * self.width


class Kind(IntEnum):
    """What a token is. TEXT (image boundaries too) and VIT are the understanding expert's."""

    TEXT = 0
    VIT = 1
    LATENT = 2
    TARGET = 3


class Mode(IntEnum):
    """How a segment sees itself, and whether later segments see it (a NOISE segment: no)."""

    FULL = 0
    CAUSAL = 1
    NOISE = 2


@dataclass(frozen=True, kw_only=True)
class ReferenceTokens:
    """A reference image in tokens. None: dropped in training, which still advances the position."""

    latent: Grid | None
    vit: Grid | None


@dataclass(frozen=True, kw_only=True)
class SampleTokens:
    """One sample in tokens.

    Attributes:
        text: ids without the ones that begin and end it; None where dropped or absent.
        targets: usually one; more are further noise draws; none for the sampler's prefill.
        key: of the sample, for statistics and random streams.
    """

    references: Sequence[ReferenceTokens]
    text: Sequence[int] | None
    targets: Sequence[Grid]
    key: str = ""


@dataclass(frozen=True)
class Segment:
    """A run of tokens that are masked alike: an image or a text, between its two boundary tokens."""

    kind: Kind
    position: int
    grid: Grid | None = None
    reference: int = -1
    ids: Sequence[int] = ()

    @property
    def length(self) -> int:
        return (len(self.ids) if self.grid is None else self.grid.size) + 2

    @property
    def mode(self) -> Mode:
        return {Kind.TEXT: Mode.CAUSAL, Kind.TARGET: Mode.NOISE}.get(self.kind, Mode.FULL)


def segments(sample: SampleTokens) -> list[Segment]:
    """The segments of a sample in the order they are seen: references (latents, then ViT), text, targets.

    An image's tokens share one position; a target takes the next one and does not advance it, so several
    noise draws stand at the same place. Source: facts 1.6.
    """
    found: list[Segment] = []
    position = 0
    for number, reference in enumerate(sample.references):
        for kind, grid in ((Kind.LATENT, reference.latent), (Kind.VIT, reference.vit)):
            if grid is not None:
                found.append(Segment(kind, position, grid, number))
            position += 1
    if sample.text is not None:
        found.append(Segment(Kind.TEXT, position, ids=sample.text))
        position += len(sample.text) + 2
    return found + [Segment(Kind.TARGET, position, grid) for grid in sample.targets]


def next_position(sample: SampleTokens) -> int:
    """The position that a target of this sample takes."""
    text = 0 if sample.text is None else len(sample.text) + 2
    return 2 * len(sample.references) + text


def token_count(sample: SampleTokens) -> int:
    """Rows that a sample takes in a pack, before padding."""
    return sum(segment.length for segment in segments(sample))
