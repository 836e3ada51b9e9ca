"""The plan of multi-candidate samples of the paper's seven case types, from what an index tells."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import NamedTuple, Protocol

from datagen.kinds import ADD_CASES, SWAP_CASES, add_case, kinds_of_row
from datagen.quotas import normal, share_out
from datagen.variants import Method, Relation, Wanted
from shards.sample import Json, canonical_json
from shards.stage import IndexRow, Planned, content_key

CASES = (*SWAP_CASES, *ADD_CASES)


class Cell(NamedTuple):
    """A kind of sample: swap makes the case types of one subject, add those of several."""

    case: str
    relation: Relation

    @property
    def method(self) -> Method:
        """What makes it."""
        return "swap" if self.case in SWAP_CASES else "add"


class Shares(Protocol):
    """The settings that decide a plan."""

    @property
    def prefix(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def swap(self) -> float: ...
    @property
    def intra(self) -> float: ...
    @property
    def position(self) -> float: ...
    @property
    def rounds(self) -> int: ...
    @property
    def cases(self) -> Mapping[str, float]: ...
    @property
    def styles(self) -> Mapping[str, float]: ...


def plan_served(shares: Shares, rows: Iterable[IndexRow]) -> Iterator[Planned]:
    """Up to `samples` variants, in the order of their keys; of each cell its exact share where parents reach.

    Parents are taken by hash, for each cell anew: one that goes, goes alone, and the next takes its place.
    What a sample is told beside its parent follows from its rank in its cell, so that a longer plan holds the
    shorter one.
    """
    parents = {row.key: row for row in rows if row.task.startswith("composition")}
    kinds = {key: found for key, row in parents.items() if (found := kinds_of_row(row))}
    planned: list[Planned] = []
    for number, (cell, count) in enumerate(cell_counts(shares).items()):
        fitting = [key for key in kinds if can_serve(kinds[key], cell)]
        styles = islice(share_out(normal(shares.styles), rest=""), number, None)
        for rank, (wanted, key) in enumerate(_of_cell(shares, cell, fitting, count)):
            may_use_position = _is_due(shares.position, rank)
            spec = replace(wanted, may_use_position=may_use_position).as_json()
            spec = {**spec, "case": cell.case, "style": next(styles)}
            planned.append(Planned(key=wanted.key, spec=spec, parents=(parents[key],)))
    yield from sorted(planned, key=lambda each: each.key)


def _is_due(share: float, rank: int) -> bool:
    """Whether the one of this rank is of a share: of any first n, as many are as are whole in share x n.

    >>> [_is_due(0.4, rank) for rank in range(5)]
    [False, False, True, False, True]
    """
    exact = Fraction(str(share))
    return int(exact * (rank + 1)) > int(exact * rank)


def cell_counts(shares: Shares) -> dict[Cell, int]:
    """How many samples of each cell; together `samples`."""
    weights: dict[str, Fraction] = {}
    swaps = Fraction(str(shares.swap))
    for share, names in ((swaps, SWAP_CASES), (1 - swaps, ADD_CASES)):
        chosen = {name: shares.cases.get(name, 0.0) for name in names}
        weights |= {name: part * share for name, part in normal(chosen).items()} if share else {}
    intra = Fraction(str(shares.intra))
    cells = {
        Cell(case, relation): weight * part
        for case, weight in weights.items()
        for relation, part in _relations(intra).items()
    }
    named = {f"{cell.case}/{cell.relation}": cell for cell in cells}
    drawn = share_out({name: cells[cell] for name, cell in named.items()}, rest="")
    counts = Counter(islice(drawn, shares.samples))
    return {cell: counts[name] for name, cell in named.items()}


def _relations(intra: Fraction) -> dict[Relation, Fraction]:
    return {"cross": 1 - intra, "intra": intra}


def can_serve(kinds: Sequence[str], cell: Cell) -> bool:
    """Whether a parent with these kinds can become a sample of a cell.

    >>> can_serve(["character", "object"], Cell("object", "cross"))
    True
    >>> can_serve(["character", "object"], Cell("object", "intra"))
    False
    """
    if cell.method == "add":
        return add_case(kinds) == cell.case
    placed = [kind for kind in kinds if kind != "scene"]
    same = placed.count(cell.case)
    return len(placed) > 1 and (same > 1 if cell.relation == "intra" else same == 1)


def _of_cell(shares: Shares, cell: Cell, keys: Sequence[str], number: int) -> list[tuple[Wanted, str]]:
    taken: list[tuple[Wanted, str]] = []
    for turn in range(shares.rounds if keys else 0):
        if len(taken) >= number:
            break
        wanted = [(_wanted(shares, cell, key, turn), key) for key in keys]
        wanted.sort(key=lambda each: _hash(shares.seed, "parent", each[0].key))
        taken += wanted[: number - len(taken)]
    return taken


def _wanted(shares: Shares, cell: Cell, parent: str, turn: int) -> Wanted:
    parts = (cell.method, cell.case, cell.relation, parent, turn)
    key = content_key(shares.prefix, shares.seed, *parts)
    return Wanted(key=key, method=cell.method, relation=cell.relation, turn=turn, may_use_position=False)


def _hash(*parts: Json) -> bytes:
    return hashlib.sha256(canonical_json(list(parts))).digest()
