"""Packing: copies the kept samples of directories into even, shuffled shards, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from shards.ledger import Ledger
from shards.plan import Refused
from shards.stage import HandedOn, IndexRow, Outcome, Planned, Stage, Work
from shards.worker_step import WorkerStep


class PackConfig(WorkerStep):
    """Settings of `pack`."""

    VERSION: ClassVar[int] = 1

    seed: int = Field(default=0, description="of the shuffle")

    @property
    def batch_size(self) -> int:
        """Samples marked as in hand at once: a mark a sample is two requests to an object store."""
        return 16

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned | Refused]:
        """Every sample once, in an order that depends on seed and keys alone."""
        seen: set[str] = set()
        for row in sorted(rows, key=lambda row: (shuffled(self.seed, row.key), row.directory)):
            if row.key in seen:
                yield Refused(origin=row.key, reason="duplicate_key", detail="another input holds this key")
                continue
            seen.add(row.key)
            yield Planned(key=row.key, parents=(row,))

    def build(self, ledger: Ledger) -> Stage:  # noqa: ARG002, nothing is paid for
        """The stage that hands each sample on."""
        return HandOn()


class HandOn(Stage):
    """Each piece of work's one parent, unchanged."""

    reads_parents = False

    def __call__(self, batch: Sequence[Work]) -> list[Outcome]:
        return [HandedOn() for _ in batch]


def shuffled(seed: int, key: str) -> bytes:
    """A sample's place in a shuffle: removing others does not change the order of the rest."""
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
