"""Shards are output: each is put together from its slices, in the order of the plan, and published once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shards.index import PackedSample, Part, shard_name, write_index, write_packed
from shards.manifest import FileRecord, record
from shards.plan import read_keys
from shards.sample import canonical_json
from shards.slices import read_slice
from shards.storage import Storage
from shards.tables import table_of, write_tables
from shards.tar import TarWriter
from shards.worker import Job, Worker

FOLDER = "work/done"


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A finished shard, as the manifest and the next run need it.

    Attributes:
        shard: its number.
        made: samples (or scored samples) in it.
        failed: planned samples that are not.
        files: what was published for it.
        reasons: how many failed, by reason.
    """

    shard: int
    made: int
    failed: int
    files: Mapping[str, FileRecord]
    reasons: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class AssembleShard:
    """Put a shard together from its slices, in the order of the plan, and publish it once."""

    job: Job
    shard: int
    slices: tuple[str, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return f"shard {shard_name(self.shard)}"

    @property
    def mark(self) -> str:
        """No sample is at risk here."""
        return ""

    def __call__(self, worker: Worker) -> ShardRecord:  # noqa: ARG002, the protocol of a task
        """Assemble on a worker: pixels never pass through the driver."""
        entries = (entry for name in self.slices for entry in read_slice(self.job.storage, name))
        write = _write_samples if self.job.kind == "samples" else _write_scores
        rejects: list[dict[str, str]] = []
        made, files = write(self.job.storage, self.shard, _kept(entries, rejects))
        self._check_complete(made, rejects)
        value: dict[str, Any] = {
            "made": len(made),
            "rejects": rejects,
            "files": {name: [found.size, found.digest] for name, found in files.items()},
        }
        self.job.storage.write(f"{FOLDER}/{shard_name(self.shard)}.json", canonical_json(value))
        return shard_record(self.shard, value)

    def _check_complete(self, made: Sequence[str], rejects: Sequence[Mapping[str, str]]) -> None:
        planned = read_keys(self.job.storage, self.shard)
        found = sorted([*made, *(reject["key"] for reject in rejects)])
        if sorted(planned) != found:
            lost = sorted(set(planned) - set(found)) or sorted(set(found) - set(planned)) or ["one twice"]
            raise LostSamplesError(
                f"step {self.job.name}, shard {shard_name(self.shard)}: expected {len(planned)} planned "
                f"samples made or rejected, got {len(found)}; first that differs: {lost[0]}"
            )


class LostSamplesError(ValueError):
    """A slice does not hold every sample that was planned for it."""


def shard_record(shard: int, value: Mapping[str, Any]) -> ShardRecord:
    """The record of a shard from its JSON form."""
    reasons: dict[str, int] = {}
    for reject in value["rejects"]:
        reasons[reject["reason"]] = reasons.get(reject["reason"], 0) + 1
    return ShardRecord(
        shard=shard,
        made=value["made"],
        failed=len(value["rejects"]),
        files={name: FileRecord(*found) for name, found in value["files"].items()},
        reasons=reasons,
    )


def _kept(entries: Iterable[dict[str, Any]], rejects: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        if entry["kind"] == "reject":
            rejects.append({"key": entry["key"], **json.loads(entry["value"])})
        else:
            yield entry


def _write_samples(
    storage: Storage, shard: int, entries: Iterable[dict[str, Any]]
) -> tuple[list[str], dict[str, FileRecord]]:
    tar, index = f"shards/{shard_name(shard)}.tar", f"index/{shard_name(shard)}.parquet"
    with storage.scratch() as path:
        with TarWriter(path, storage.start_writing) as writer:
            rows = [write_packed(writer, _packed(entry)) for entry in entries]
        files = {tar: FileRecord(path.stat().st_size, f"members:{writer.digest}")}
        storage.publish(path, tar)
    with storage.scratch() as path:
        write_index(rows, path)
        storage.publish(path, index)
    return [row["key"] for row in rows], files | {index: record(storage, index)}


def _packed(entry: Mapping[str, Any]) -> PackedSample:
    parts = tuple(Part(**part) for part in entry["parts"])
    return PackedSample(key=entry["key"], row=json.loads(entry["value"]), parts=parts)


def _write_scores(
    storage: Storage, shard: int, entries: Iterable[dict[str, Any]]
) -> tuple[list[str], dict[str, FileRecord]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    keys = []
    for entry in entries:
        keys.append(entry["key"])
        for question, found in json.loads(entry["value"]).items():
            rows.setdefault(question, []).extend({"key": entry["key"], **row} for row in found)
    files = {}
    for question in sorted(rows):
        name = f"work/tables/{question}/{shard_name(shard)}.parquet"
        with storage.scratch() as path:
            write_tables([table_of(rows[question])], path)
            storage.publish(path, name)
        files[name] = record(storage, name)
    return keys, files
