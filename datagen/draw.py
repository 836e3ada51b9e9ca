"""Drawing: for each sample one like it whose target an image model draws, so that the model can be judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from datagen.drawing import LARGEST_PX, SMALLEST_PX, Artist, Case, DrawSettings, check_references, round_keys
from datagen.generators import STEP_PX, Generator, fitted
from shards.image import ImageError
from shards.ledger import Ledger
from shards.sample import BENCHMARKS, Provenance, Sample
from shards.stage import IndexRow, Planned, Reject, Stage, Work

SOURCE = "draw"


class DrawError(ValueError):
    """Samples that cannot be drawn under keys of their own: *where: expected what, got what; the way out*."""


class DrawConfig(DrawSettings):
    """Settings of `draw`."""

    VERSION: ClassVar[int] = 1

    size_px: int | None = Field(
        default=None,
        ge=SMALLEST_PX,
        le=LARGEST_PX,
        multiple_of=STEP_PX,
        description="side of the pictures, a multiple of 16; unless set, each has its sample's target's size",
    )
    largest_px: int = Field(
        default=1024,
        ge=SMALLEST_PX,
        le=LARGEST_PX,
        description="a target whose longer side is more is drawn smaller",
    )

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Every sample as often as there are rounds, in the order of keys.

        Raises:
            DrawError: a round's key is another sample's: the input was drawn in rounds itself.
        """
        held = {row.key: row for row in rows}
        for case_key in sorted(held):
            for number, key in round_keys(case_key, self.rounds):
                if number and key in held:
                    raise DrawError(
                        f"draw: expected no {key!r} in the input, which round {number} of {case_key!r} is "
                        "called, got one; draw from the set that the input was drawn from, or with rounds: 1"
                    )
                yield Planned(key=key, spec={"round": number}, parents=(held[case_key],))

    def build(self, ledger: Ledger) -> Stage:
        """The stage."""
        return Drawer(self, self.images.build(ledger))


class Drawer(Stage):
    """Draws targets anew; the parents' own are looked at for their size only."""

    def __init__(self, config: DrawConfig, generator: Generator) -> None:
        self._config = config
        self._artist = Artist(generator, config.seed)

    def close(self) -> None:
        """End the generator."""
        self._artist.close()

    def take_counts(self) -> Mapping[str, float]:
        """What the generator counted since the last call."""
        return self._artist.take_counts()

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        return self._artist.draw([self._case(work) for work in batch])

    def _case(self, work: Work) -> Case | Reject:
        (parent,) = work.parents
        try:
            check_references(parent.key, parent.references)
            size_px = self._size(parent)
        except ImageError as error:
            return Reject(reason=error.reason, detail=str(error))
        return Case(
            key=work.key,
            case_key=parent.key,
            round=int(str(work.spec["round"])),
            instruction=parent.instruction,
            references=parent.references,
            subjects=parent.subjects,
            size_px=size_px,
            provenance=_provenance(parent),
        )

    def _size(self, parent: Sample) -> tuple[int, int]:
        if self._config.size_px:
            return self._config.size_px, self._config.size_px
        try:
            return fitted(parent.target, self._config.largest_px)
        except ImageError as error:
            raise ImageError(error.reason, f"{parent.key}.target: {error}") from error


def _provenance(parent: Sample) -> Provenance:
    """The sample's own, but for its source; a benchmark's cases stay told by the benchmark's name."""
    made = parent.provenance
    return Provenance(
        source=made.source if made.source in BENCHMARKS else SOURCE,
        licence=made.licence,
        task=made.task,
        case=made.case,
        parents=(parent.key,),
        origin={"parent_source": made.source},
    )
