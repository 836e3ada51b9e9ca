"""Scores that a set was published with, as tables that `select` and `dedup` read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from shards.ledger import Ledger
from shards.sample import Sample
from shards.stage import IndexRow, Outcome, Planned, Scores, Stage, Work
from shards.tables import WHOLE
from shards.worker_step import WorkerStep


class PublishedScoresConfig(WorkerStep):
    """Settings of `published_scores`."""

    VERSION: ClassVar[int] = 1

    scores: tuple[str, ...] = Field(
        default=("uno",), min_length=1, description="names of scores that the importer kept in the origin"
    )

    def tables(self) -> Sequence[str]:
        """One a score."""
        return self.scores

    @property
    def batch_size(self) -> int:
        """Samples marked as in hand at once."""
        return 32

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Every sample; one without a score is unreadable in its table."""
        return (Planned(key=row.key, parents=(row,)) for row in rows)

    def build(self, ledger: Ledger) -> PublishedScores:  # noqa: ARG002, nothing is paid for
        """The stage."""
        return PublishedScores(self.scores)


class PublishedScores(Stage):
    """Reads the scores of a sample's origin."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __call__(self, batch: Sequence[Work]) -> list[Outcome]:
        return [Scores(rows={name: [_row(work.parents[0], name)] for name in self._names}) for work in batch]


def _row(sample: Sample, name: str) -> dict[str, Any]:
    scores = sample.provenance.origin.get("scores")
    value = scores.get(name) if isinstance(scores, Mapping) else None
    row = {"reference": WHOLE, "candidate": WHOLE, "probabilities": []}
    if not isinstance(value, int | float):
        return row | {"mode": 0.0, "expected": 0.0, "label_mass": 0.0, "status": "not published"}
    return row | {"mode": float(round(value)), "expected": value, "label_mass": 1.0, "status": "ok"}
