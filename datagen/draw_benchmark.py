"""Drawing a published benchmark: its cases become samples whose targets the measured image model draws."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from datagen.benchmarks.cases import Benchmark
from datagen.benchmarks.omnicontext import OmniContext
from datagen.benchmarks.sconeeval import SconeEval
from datagen.cleaning import Cleaning
from datagen.drawing import LARGEST_PX, SMALLEST_PX, Artist, Case, DrawSettings, round_keys
from datagen.generators import STEP_PX, Generator
from datagen.importers.records import Choice, Record
from datagen.importers.settings import ArchivedSettings
from datagen.importers.stage import Reader, changes, told
from datagen.unusable import UnusableError
from shards.ledger import Ledger
from shards.plan import Refused, Unused
from shards.sample import Candidate, Json, Provenance, Sample
from shards.stage import IndexRow, Planned, Reject, Stage, Work

FORMATS: Mapping[str, type[Benchmark]] = {"sconeeval": SconeEval, "omnicontext": OmniContext}
# A benchmark is drawn whole: what is too small or too long to train on is still a case of it.
CLEAN = Cleaning(min_side_px=1, max_aspect=float("inf"))


class DrawBenchmarkConfig(DrawSettings, ArchivedSettings):
    """Settings of `draw_benchmark`."""

    VERSION: ClassVar[int] = 1

    benchmark: Literal["sconeeval", "omnicontext"] = Field(description="whose cases they are")
    files: tuple[str, ...] = Field(default=(), description="patterns of its files; as published unless set")
    size_px: int = Field(
        default=1024,
        ge=SMALLEST_PX,
        le=LARGEST_PX,
        multiple_of=STEP_PX,
        description="side of the pictures, a multiple of 16",
    )
    # Elsewhere a seed decides which records are drawn; here the pictures too.
    seed: int = Field(
        default=0, ge=0, description="of the drawing and the pictures; the recipe's seed unless set"
    )

    @property
    def cases(self) -> Benchmark:
        """The benchmark as it lies there."""
        return FORMATS[self.benchmark](self, self.files)

    def check(self) -> None:
        """As for all, and its files are there.

        Raises:
            SourceError: they are not.
        """
        super().check()
        _ = self.cases.files

    def records(self) -> Iterator[Record | Refused]:
        """The benchmark's cases, in its order."""
        return self.cases.records()

    def plan(self, rows: Iterable[IndexRow] = ()) -> Iterator[Planned | Refused | Unused]:  # noqa: ARG002
        """The chosen cases, each as often as there are rounds; no picture is read."""
        self.check()
        cases = self.cases
        choice = Choice(
            prefix=self.benchmark,
            where={**cases.WHERE, **self.where},
            sample=self.sample,
            seed=self.seed,
            check=_check_words,
        )
        for entry in choice.plan(cases.records):
            if isinstance(entry, Planned):
                yield from self._rounds(entry)
            else:
                yield entry

    def _rounds(self, case: Planned) -> Iterator[Planned]:
        for number, key in round_keys(case.key, self.rounds):
            spec = {**case.spec, "case_key": case.key, "round": number, "source": self.benchmark}
            yield Planned(key=key, spec=spec, is_more=number > 0)

    def build(self, ledger: Ledger) -> Stage:
        """The stage."""
        return BenchmarkDrawer(self, self.cases.reader(), self.images.build(ledger))


def _check_words(record: Record) -> None:
    """Refuse a case without an instruction.

    Raises:
        UnusableError: it has none.
    """
    if not str(record.spec["instruction"]).strip():
        raise UnusableError("empty_instruction", "instruction: expected words, got none")


class BenchmarkDrawer(Stage):
    """Reads cases, and has their targets drawn."""

    def __init__(self, config: DrawBenchmarkConfig, reader: Reader, generator: Generator) -> None:
        self._config = config
        self._reader = reader
        self._artist = Artist(generator, config.seed)
        self._reading = threading.Lock()  # two slices are in hand at once, and a reader goes forward

    def close(self) -> None:
        """End the generator."""
        self._artist.close()

    def take_counts(self) -> Mapping[str, float]:
        """What the generator counted since the last call."""
        return self._artist.take_counts()

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        with self._reading:
            cases = list(self._cases(batch))
        return self._artist.draw(cases)

    def _cases(self, batch: Sequence[Work]) -> Iterator[Case | Reject]:
        """A case for each round; its pictures are read once for rounds that come one after the other."""
        read: Case | Reject | None = None
        key = ""
        for work in batch:
            if read is None or work.spec["case_key"] != key:
                key = str(work.spec["case_key"])
                read = self._case(work)
            if isinstance(read, Case):
                read = replace(read, key=work.key, round=int(str(work.spec["round"])))
            yield read

    def _case(self, work: Work) -> Case | Reject:
        try:
            raw = self._reader.read(work.spec)
            cleaned = CLEAN.clean_references(raw.images)
        except UnusableError as error:
            return Reject(reason=error.reason, detail=told(work.spec, str(error)))
        counted = "single" if len(cleaned) == 1 else "multi"
        return Case(
            key=work.key,
            case_key=str(work.spec["case_key"]),
            round=0,
            instruction=raw.instruction.strip(),
            references=tuple(each.image for each in cleaned),
            subjects=_subjects(work.spec, len(cleaned)),
            size_px=(self._config.size_px, self._config.size_px),
            provenance=Provenance(
                source=self._config.benchmark,
                licence=raw.licence or self._config.licence,
                task=raw.task or f"composition_{counted}",
                case=raw.case,
                origin={**raw.origin, **changes(raw, cleaned, has_target=False)},
            ),
        )


def _subjects(spec: Mapping[str, Json], references: int) -> tuple[tuple[Candidate, ...], ...]:
    """The candidates of each reference; none where the benchmark lists none."""
    listed = cast("Sequence[Any]", spec.get("candidates") or [()] * references)
    return tuple(
        tuple(Candidate(name=name, is_target=is_target) for name, is_target in each) for each in listed
    )
