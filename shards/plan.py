"""The plan of a step, written down before work starts: which samples it will make, from what."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.key_set import KeySet
from shards.sample import Json, canonical_json
from shards.stage import Planned
from shards.storage import Storage, StorageError

FOLDER = "work/plan"
SUMMARY = f"{FOLDER}/summary.json"
GROUP_ROWS = 512  # a worker reads those that hold its slice, however large the shard is

PLACE = pa.struct([("directory", pa.int32()), ("shard", pa.int32()), ("row", pa.int32())])
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("spec", pa.string()),
        ("parents", pa.list_(PLACE)),
        ("made_by", pa.string()),
        ("copy_of", PLACE),
    ]
)


class PlanError(ValueError):
    """A plan that names a sample twice or cannot be read: a bug in the step."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An entry of a source that cannot be planned, with the reason."""

    origin: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Unused:
    """Entries of a source that the plan leaves: predicates or sampling passed them over."""

    count: int


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """What a plan comes to.

    Attributes:
        planned: samples that will be made.
        read: samples or entries found; used: of those, the ones the plan makes something of.
        copied: planned samples that a directory of an earlier recipe holds already.
        copies_from: the directories that hold them, in the order `copy_of` counts them.
        refused: entries that could not be planned, as (origin, reason, detail).
        read_from: hash of what the inputs held; a plan made from other contents is not resumed.
    """

    planned: int
    read: int
    used: int
    copied: int = 0
    copies_from: Sequence[str] = ()
    refused: Sequence[Refused] = ()
    read_from: str = ""


@dataclass
class Tally:
    """What a plan counts while it is written."""

    planned: int = 0
    entries: int = 0
    copied: int = 0
    unused: int = 0
    keys: KeySet = field(default_factory=KeySet)
    parents: set[tuple[int, int, int]] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)


Place = tuple[int, int, int]


def write_plan(
    storage: Storage,
    planned: Iterable[Planned | Refused | Unused],
    *,
    shard_size: int,
    recipe: Mapping[str, Json],
    made: Mapping[str, Place],
    copies_from: Sequence[str],
    read: int | None,
    read_from: str = "",
) -> PlanSummary:
    """Write a step's plan, a file a shard, and say what it comes to.

    Args:
        storage: the step's directory.
        planned: what the step wants made, in the order it shall lie in the shards.
        shard_size: samples in a shard.
        recipe: all else that decides a sample's content: type, version, settings.
        made: where earlier directories hold samples, by `made_by`.
        copies_from: those directories' names.
        read: samples in the inputs; None where the plan itself reads the source.
        read_from: hash of what the inputs hold.

    Raises:
        PlanError: two samples of one key.
    """
    tally = Tally()
    rows = _plan_rows(planned, recipe, made, tally)
    number = 0
    while batch := list(islice(rows, shard_size)):
        table = pa.Table.from_pylist(batch, schema=SCHEMA)
        with storage.scratch() as path:
            pq.write_table(table, path, compression="zstd", row_group_size=GROUP_ROWS)
            storage.publish(path, f"{FOLDER}/{number:05d}.parquet")
        number += 1
    summary = replace(_summary(tally, copies_from, read), read_from=read_from)
    storage.write(SUMMARY, canonical_json(asdict(summary)))
    return summary


def _summary(tally: Tally, copies_from: Sequence[str], read: int | None) -> PlanSummary:
    used = len(tally.parents) if read is not None else tally.entries
    return PlanSummary(
        planned=tally.planned,
        read=used + len(tally.refused) + tally.unused if read is None else read,
        used=used,
        copied=tally.copied,
        copies_from=tuple(copies_from),
        refused=tuple(tally.refused),
    )


def _plan_rows(
    planned: Iterable[Planned | Refused | Unused],
    recipe: Mapping[str, Json],
    made: Mapping[str, Place],
    tally: Tally,
) -> Iterator[dict[str, Any]]:
    for entry in planned:
        if isinstance(entry, Refused):
            tally.refused.append(entry)
            continue
        if isinstance(entry, Unused):
            tally.unused += entry.count
            continue
        _count(entry, tally)
        made_by = content_of(entry, recipe)
        place = made.get(made_by)
        tally.copied += place is not None
        yield {
            "key": entry.key,
            "spec": canonical_json(entry.spec).decode(),
            "parents": [_place((p.directory, p.shard, p.row)) for p in entry.parents],
            "made_by": made_by,
            "copy_of": _place(place) if place else None,
        }


def _count(entry: Planned, tally: Tally) -> None:
    if not tally.keys.add(entry.key):
        raise PlanError(f"plan: expected each key once, got {entry.key!r} twice; this is a bug in the step")
    tally.planned += 1
    tally.entries += not entry.is_more
    tally.parents.update((p.directory, p.shard, p.row) for p in entry.parents)


def _place(place: Place) -> dict[str, int]:
    directory, shard, row = place
    return {"directory": directory, "shard": shard, "row": row}


def content_of(entry: Planned, recipe: Mapping[str, Json]) -> str:
    """Hash of all that decides a sample: the step's settings, its plan, what it is made from."""
    parents = [[parent.key, parent.digest] for parent in entry.parents]
    return hashlib.sha256(canonical_json([recipe, entry.key, entry.spec, parents])).hexdigest()


def read_summary(storage: Storage) -> PlanSummary | None:
    """What a written plan comes to; None where it was not finished."""
    try:
        value = json.loads(storage.read(SUMMARY))
    except StorageError:
        return None
    value["refused"] = tuple(Refused(**entry) for entry in value["refused"])
    value["copies_from"] = tuple(value["copies_from"])
    return PlanSummary(**value)


@dataclass(frozen=True)
class PlanRow:
    """One planned sample as a worker reads it."""

    key: str
    spec: Mapping[str, Json]
    parents: tuple[Place, ...]
    made_by: str
    copy_of: Place | None


def read_plan(storage: Storage, shard: int, start: int, stop: int) -> list[PlanRow]:
    """Rows `start` to `stop` of a shard's plan."""
    table, first = _read_groups(storage, shard, start, stop)
    return [
        PlanRow(
            row["key"],
            json.loads(row["spec"]),
            tuple((p["directory"], p["shard"], p["row"]) for p in row["parents"]),
            row["made_by"],
            tuple(row["copy_of"].values()) if row["copy_of"] else None,
        )
        for row in table.slice(start - first, stop - start).to_pylist()
    ]


def _read_groups(storage: Storage, shard: int, start: int, stop: int) -> tuple[pa.Table, int]:
    """The row groups that hold rows `start` to `stop`, and the number of their first row."""
    with storage.open(f"{FOLDER}/{shard:05d}.parquet") as file:
        parquet = pq.ParquetFile(file)
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        ends = list(accumulate(sizes))
        wanted = [n for n, end in enumerate(ends) if end > start and end - sizes[n] < stop]
        table = parquet.read_row_groups(wanted)
    return table, ends[wanted[0]] - sizes[wanted[0]] if wanted else start


def read_keys(storage: Storage, shard: int) -> list[str]:
    """The keys of a shard's plan, in order."""
    with storage.open(f"{FOLDER}/{shard:05d}.parquet") as file:
        keys: list[str] = pq.read_table(file, columns=["key"]).column("key").to_pylist()
    return keys


def planned_rows(storage: Storage) -> Iterator[PlanRow]:
    """Every row of a written plan, a shard at a time."""
    for name in storage.names(FOLDER):
        if name.endswith(".parquet"):
            yield from read_plan(storage, int(name.removesuffix(".parquet")), 0, 1 << 31)


def plan_sizes(summary: PlanSummary, shard_size: int) -> list[int]:
    """Planned samples of each shard.

    >>> plan_sizes(PlanSummary(planned=1200, read=0, used=0), 500)
    [500, 500, 200]
    """
    full, rest = divmod(summary.planned, shard_size)
    return [shard_size] * full + ([rest] if rest else [])


def reasons_of(refused: Iterable[Refused]) -> Counter[str]:
    """How many were refused, by reason."""
    return Counter(entry.reason for entry in refused)
