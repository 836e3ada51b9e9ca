"""From a set's metadata to planned work: predicates and sampling, before any image is touched."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datagen.importers.source import SourceError
from datagen.unusable import UnusableError
from shards.key_set import KeySet
from shards.plan import Refused, Unused
from shards.sample import Json, canonical_json
from shards.stage import Planned, content_key

Scalar: TypeAlias = bool | int | float | str


class Range(BaseModel):
    """What a column must be: at least, at most, none of; a value that is missing is never right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: float | None = Field(default=None, alias="min")
    most: float | None = Field(default=None, alias="max")
    no: tuple[Scalar, ...] = Field(default=(), alias="not")

    @model_validator(mode="after")
    def _says_something(self) -> Range:
        if self.least is None and self.most is None and not self.no:
            raise ValueError("min, max or not")
        return self

    def holds(self, value: object) -> bool:
        """Whether a value is right."""
        if value in self.no or value is None:
            return False
        if self.least is None and self.most is None:
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


Condition: TypeAlias = Scalar | tuple[Scalar, ...] | Range


def holds(condition: Condition, value: object) -> bool:
    """Whether a value fits a condition of `where:`.

    >>> holds("cat", "cat"), holds(("cat", "dog"), "cow"), holds(Range(min=3), 3.5), holds(Range(min=3), None)
    (True, False, True, False)
    """
    if isinstance(condition, Range):
        return condition.holds(value)
    return value in condition if isinstance(condition, tuple) else value == condition


@dataclass(frozen=True, kw_only=True)
class Record:
    """One entry of a set's metadata.

    Attributes:
        place: where it stands, for rejects and people, e.g. "labels/split6.json:1295".
        identity: what tells it from the set's others: its own paths or words.
        spec: all that a worker needs to make the sample; small.
        columns: what `where:` can ask for.
        licence: of this entry, where the set has no one licence.
        key: of the sample, where the set has good ones; else made from the identity.
    """

    place: str
    identity: Json
    spec: Mapping[str, Json]
    columns: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    key: str = ""


Records: TypeAlias = Callable[[], Iterator[Record | Refused]]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which records are wanted.

    Attributes:
        prefix: of the keys.
        where: conditions by column.
        sample: so many of those that fit, drawn by the seed; None for all.
        seed: of the drawing.
        check: raises UnusableError for a record that cannot be taken.
    """

    prefix: str
    where: Mapping[str, Condition]
    sample: int | None
    seed: int
    check: Callable[[Record], None]

    def plan(self, records: Records) -> Iterator[Planned | Refused | Unused]:
        """Chosen records as planned samples, in the set's order.

        With `sample` the metadata is read twice, so that no more than a number for each drawn record is held.

        Raises:
            SourceError: `where` names a column that the set does not have.
        """
        last = self._last_rank(records) if self.sample is not None else None
        unused = 0
        for entry in self._fitting(records):
            if isinstance(entry, Refused):
                yield entry
            elif entry is None or (last is not None and rank(self.seed, entry.key) > last):
                unused += 1
            else:
                yield entry
        yield Unused(count=unused)

    def _last_rank(self, records: Records) -> int:
        assert self.sample is not None
        ranks = (rank(self.seed, entry.key) for entry in self._fitting(records) if isinstance(entry, Planned))
        return max(heapq.nsmallest(self.sample, ranks), default=-1)

    def _fitting(self, records: Records) -> Iterator[Planned | Refused | None]:
        """A planned sample for each record that fits, None for one that does not."""
        seen = KeySet()
        known: set[str] = set()
        for entry in records():
            if isinstance(entry, Refused):
                yield entry
                continue
            known.update(entry.columns)
            is_fit = all(holds(condition, entry.columns.get(name)) for name, condition in self.where.items())
            yield self._planned(entry, seen) if is_fit else None
        unknown = sorted(set(self.where) - known)
        if unknown and known:
            raise SourceError(f"where: expected columns of {', '.join(sorted(known))}, got {unknown[0]!r}")

    def _planned(self, record: Record, seen: KeySet) -> Planned | Refused:
        try:
            self.check(record)
            key = record.key or content_key(self.prefix, record.identity)
            canonical_json(record.spec)
        except UnusableError as error:
            return Refused(origin=record.place, reason=error.reason, detail=str(error))
        except (ValueError, RecursionError) as error:  # half a surrogate pair, a number that is none
            return Refused(origin=record.place, reason="bad_metadata", detail=f"{error!s:.200}")
        if not seen.add(key):
            return Refused(origin=record.place, reason="duplicate_record", detail=f"{key} came before")
        return Planned(key=key, spec=record.spec)


def rank(seed: int, key: str) -> int:
    """A record's place in a drawing; adding others does not change the order of these."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest(), "big")


def text_of(value: object, name: str) -> str:
    """A text of a record.

    Raises:
        UnusableError: it is something else.
    """
    if not isinstance(value, str):
        raise UnusableError("bad_metadata", f"{name}: expected text, got {value!r:.80}")
    return value


def list_of(value: object, name: str) -> Sequence[object]:
    """A list of a record; one thing alone counts as a list of it.

    Raises:
        UnusableError: it is empty or something else.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise UnusableError("bad_metadata", f"{name}: expected a list, got {value!r:.80}")
    return found
