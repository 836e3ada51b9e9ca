"""Mixing: draws an exact number of samples from several directories, by weight or count, seeded, balanced."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from shards.key_set import KeySet
from shards.ledger import Ledger
from shards.pack import HandOn
from shards.plan import Refused
from shards.row_columns import RowColumns
from shards.stage import IndexRow, Planned, Stage
from shards.worker_step import WorkerStep

Column: TypeAlias = Literal["source", "task", "case", "category", "licence", "references"]


class MixError(ValueError):
    """A mix that the inputs cannot give: *where: expected what, got what; the way out*."""


class MixConfig(WorkerStep):
    """Settings of `mix`."""

    VERSION: ClassVar[int] = 1

    samples: int | None = Field(default=None, ge=1, description="how many to draw, exactly; with `weights`")
    weights: Mapping[str, float] = Field(
        default={}, description="share of each value of `by`; equal shares of all there are unless set"
    )
    counts: Mapping[str, int] = Field(default={}, description="or how many of each value of `by`, exactly")
    by: Column = Field(default="source", description="index column that tells the sources apart")
    balance: Column | None = Field(
        default=None, description="index column; each source gives as many of each of its values, as it can"
    )
    seed: int = Field(default=0, ge=0, description="of the drawing")

    @property
    def batch_size(self) -> int:
        """Samples marked as in hand at once: a mark a sample is two requests to an object store."""
        return 16

    @field_validator("weights", "counts", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """Values of `by: references` are numbers in YAML."""
        if not isinstance(value, Mapping):
            return value
        return {str(name) if type(name) is int else name: number for name, number in value.items()}

    @model_validator(mode="after")
    def _complete(self) -> MixConfig:
        if bool(self.counts) == bool(self.samples):
            raise ValueError("either `samples`, perhaps with `weights`, or `counts`")
        if self.counts and self.weights:
            raise ValueError("either `weights` or `counts`")
        if any(share <= 0 for share in self.weights.values()) or any(n < 1 for n in self.counts.values()):
            raise ValueError("weights and counts above 0; leave a source out to take nothing of it")
        return self

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned | Refused]:
        """The drawn samples, in the order of the inputs.

        Raises:
            MixError: a source runs short; every one that does is named.
        """
        held = RowColumns()
        pools, refused = self._pools(rows, held)
        yield from refused
        quotas = self._quotas(list(pools))
        self._check(pools, quotas)
        drawn = np.concatenate(
            [numbers for name, count in quotas.items() for numbers in pools[name].draw(count)]
        )
        for row in held.in_order(drawn):
            yield Planned(key=row.key, parents=(row,))

    def build(self, ledger: Ledger) -> Stage:  # noqa: ARG002, nothing is paid for
        """The stage that hands each sample on."""
        return HandOn()

    def _pools(self, rows: Iterable[IndexRow], held: RowColumns) -> tuple[dict[str, _Pool], list[Refused]]:
        pools: dict[str, _Pool] = {}
        refused = []
        seen = KeySet()
        for row in rows:
            digest = hashlib.blake2b(f"{self.seed}:{row.key}".encode(), digest_size=8).digest()
            if not seen.add_hash(digest):
                detail = "another input holds this key"
                refused.append(Refused(origin=row.key, reason="duplicate_key", detail=detail))
                continue
            value = str(getattr(row, self.balance)) if self.balance else ""
            pool = pools.setdefault(str(getattr(row, self.by)), _Pool())
            pool.add(value, int.from_bytes(digest, "big"), held.add(row))
        return pools, refused

    def _quotas(self, names: Sequence[str]) -> dict[str, int]:
        if self.counts:
            return dict(self.counts)
        assert self.samples is not None
        return apportion(self.samples, self.weights or dict.fromkeys(sorted(names), 1.0))

    def _check(self, pools: Mapping[str, _Pool], quotas: Mapping[str, int]) -> None:
        short = [
            f"{max(count, 1)} of {name}, got {len(pools[name]) if name in pools else 0}"
            for name, count in quotas.items()
            if name not in pools or count > len(pools[name])
        ]
        if short or not quotas:
            known = ", ".join(f"{name} ({len(pool)})" for name, pool in pools.items()) or "nothing"
            raise MixError(
                f"mix: expected {'; '.join(short) or 'samples'}; the inputs hold {known}: lower `samples`, "
                "or the weight or count of what is short"
            )


@dataclass
class _Pool:
    """Samples of one source by the balanced column: each one's place in the drawing, and its number."""

    values: dict[str, tuple[array[int], array[int]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(places) for places, _ in self.values.values())

    def add(self, value: str, place: int, number: int) -> None:
        """Take a sample in."""
        places, numbers = self.values.setdefault(value, (array("Q"), array("q")))
        places.append(place)
        numbers.append(number)

    def draw(self, count: int) -> Iterator[npt.NDArray[np.int64]]:
        """So many, the first ones by their places; of each value as many, as far as it has them."""
        sizes = {value: len(places) for value, (places, _) in self.values.items()}
        for value, taken in level(sizes, count).items():
            places, numbers = (np.array(column) for column in self.values[value])
            yield numbers[np.argsort(places, kind="stable")[:taken]]

    def __bool__(self) -> bool:
        return True


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in the given shares that add up to the total: largest remainders get what is left.

    >>> apportion(70, {"a": 1, "b": 1, "c": 1})
    {'a': 24, 'b': 23, 'c': 23}
    """
    shares = {name: Fraction(str(weight)) for name, weight in weights.items()}
    whole = sum(shares.values())
    exact = {name: total * share / whole for name, share in shares.items()}
    given = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: (given[name] - exact[name], name))[
        : total - sum(given.values())
    ]:
        given[name] += 1
    return given


def level(held: Mapping[str, int], count: int) -> dict[str, int]:
    """How many to take of each, as even as what is held allows.

    >>> level({"one": 2, "two": 9, "three": 9}, 12)
    {'one': 2, 'three': 5, 'two': 5}
    """
    taken: dict[str, int] = {}
    names = sorted(held, key=lambda name: (held[name], name))
    for number, name in enumerate(names):
        taken[name] = min(held[name], (count - sum(taken.values())) // (len(names) - number))
    return taken
