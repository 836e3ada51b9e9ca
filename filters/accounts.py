"""Accounts: the books of each step written out as sums, counted again in its files, with its losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters import matches
from filters.lineage import Lineage
from filters.training import samples_read
from shards.books import Books
from shards.driver_step import Input
from shards.finish import REJECTS, read_rejects
from shards.selection import read_selection
from shards.storage import Storage
from shards.tables import questions, read_table

EXAMPLES = 3
MADE = {"samples": "made", "scores": "judged", "selection": "kept", "model": "trained on"}
MADE_BY = {"evaluate": "evaluated"}  # by type of step


@dataclass(frozen=True)
class Sum:
    """One sum that must come out: `words` says it, e.g. "planned = made + failed"."""

    words: str
    left: int
    right: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether both sides are the same."""
        return self.left == sum(self.right)

    @property
    def numbers(self) -> str:
        """The sum in numbers.

        >>> Sum("planned = made + failed", 400, (392, 8)).numbers
        '400 = 392 + 8'
        >>> Sum("planned = made + failed", 400, (392, 7)).numbers
        '400 ≠ 392 + 7'
        """
        sign = "=" if self.holds else "≠"
        return f"{self.left:,} {sign} {' + '.join(f'{number:,}' for number in self.right)}"


@dataclass(frozen=True)
class Loss:
    """One reason for which samples were lost in a step, and a few of them as (key, detail)."""

    reason: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a step did with its samples.

    Attributes:
        name: of its directory.
        label: of its step.
        type: of its step.
        kind: "samples", "scores", "selection" or "model".
        made_word: what the made ones are called: made, judged, evaluated, kept, trained on.
        books: as its manifest has them.
        sums: that must come out; the first ones are the books', the others count again.
        losses: by reason, the most frequent first.
    """

    name: str
    label: str
    type: str
    kind: str
    made_word: str
    books: Books
    sums: tuple[Sum, ...]
    losses: tuple[Loss, ...]

    @property
    def balances(self) -> bool:
        """Whether every sum comes out."""
        return all(each.holds for each in self.sums)

    @property
    def lost(self) -> int:
        """Samples refused, failed or rejected."""
        return self.books.refused + self.books.failed


def accounts(lineage: Lineage) -> list[Account]:
    """The account of each step, in order."""
    return [_account(lineage, name, step) for name, step in lineage.steps.items()]


def _account(lineage: Lineage, name: str, step: Input) -> Account:
    return Account(
        name=name,
        label=lineage.labels[name],
        type=step.manifest.type,
        kind=step.manifest.kind,
        made_word=MADE_BY.get(step.manifest.type, MADE[step.manifest.kind]),
        books=step.manifest.books,
        sums=(*_sums(step.manifest.books), *_recount(step), *_arrivals(lineage, name)),
        losses=tuple(_losses(step)),
    )


def _sums(books: Books) -> Iterator[Sum]:
    yield Sum("read = used + unused + refused", books.read, (books.used, books.unused, books.refused))
    yield Sum("planned = made + failed", books.planned, (books.made, books.failed))
    reasons = tuple(books.reasons.values()) or (0,)
    yield Sum("lost = its reasons", books.refused + books.failed, reasons)


def _recount(step: Input) -> Iterator[Sum]:
    """What lies in the files against what the books say."""
    counts = {"samples": _indexed, "scores": _scored, "selection": _kept, "model": samples_read}
    count = counts[step.manifest.kind]
    yield Sum("made = counted in its files", step.manifest.books.made, (count(step.storage),))


def _indexed(storage: Storage) -> int:
    return sum(_rows(storage, f"index/{name}") for name in storage.names("index"))


def _rows(storage: Storage, name: str) -> int:
    with storage.open(name) as file:
        return int(pq.read_metadata(file).num_rows)


def _scored(storage: Storage) -> int:
    """Samples in the table that holds the most; every sample is asked every question that fits it."""
    tables = (read_table(storage, question, ["key"]) for question in questions(storage))
    return max((int(pc.count_distinct(table.column("key")).as_py()) for table in tables), default=0)


def _kept(storage: Storage) -> int:
    return int(pc.sum(read_selection(storage).column("keep")).as_py() or 0)


def _arrivals(lineage: Lineage, name: str) -> Iterator[Sum]:
    """What a step read against what its parents hand on."""
    sets = [parent for role, parents in lineage.steps[name].manifest.parents.items() for parent in parents]
    made = [lineage.steps[p].manifest.books.made for p in sets if lineage.steps[p].manifest.kind != "scores"]
    if made:
        yield Sum("read = handed on by parents", lineage.steps[name].manifest.books.read, tuple(made))


def _losses(step: Input) -> list[Loss]:
    reasons: Mapping[str, int] = step.manifest.books.reasons
    examples = dict[str, tuple[tuple[str, str], ...]]()
    if REJECTS in step.manifest.files:
        examples = _examples(step.storage)
    elif matches.FILE in step.manifest.files:
        examples = matches.match_examples(step.storage, list(reasons), EXAMPLES)
    found = [Loss(reason, count, examples.get(reason, ())) for reason, count in reasons.items()]
    return sorted(found, key=lambda loss: (-loss.count, loss.reason))


def _examples(storage: Storage) -> dict[str, tuple[tuple[str, str], ...]]:
    rows: Sequence[Mapping[str, str]] = sorted(
        read_rejects(storage), key=lambda row: (row["reason"], row["key"])
    )
    return {
        reason: tuple((row["key"], row["detail"]) for row in group)[:EXAMPLES]
        for reason, group in groupby(rows, key=lambda row: row["reason"])
    }
