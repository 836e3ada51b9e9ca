"""Finishing a directory: rejects and tables gathered, the books recounted, the manifest written last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards import assemble
from shards.assemble import ShardRecord
from shards.books import Books
from shards.index import shard_name
from shards.manifest import FileRecord, Manifest, record, write_manifest
from shards.plan import PlanSummary, reasons_of
from shards.storage import SCRATCH, Storage
from shards.tables import SCHEMA as TABLE_SCHEMA

REJECTS = "rejects.parquet"
BESIDE = ("controls.parquet",)  # what a step made beside its shards or tables, in no books
REJECT_SCHEMA = pa.schema(
    [("key", pa.string()), ("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)


def finish(
    storage: Storage,
    draft: Manifest,
    plan: PlanSummary,
    records: Sequence[ShardRecord],
    check: Callable[[Storage], None] | None = None,
) -> Manifest:
    """Gather what the shards left, check that nothing got lost, and write the manifest.

    Args:
        storage: the step's directory.
        draft: its manifest but for what is gathered here.
        plan: what was planned.
        records: of the shards.
        check: a look at the gathered tables that may refuse them; then the directory stays unfinished.

    Raises:
        BooksError: a count does not come out; the directory stays unfinished.
    """
    files = dict(_merge_tables(storage, records)) if draft.kind == "scores" else _shard_files(records)
    if check:
        check(storage)
    files |= {name: record(storage, name) for name in BESIDE if storage.exists(name)}
    files[REJECTS] = _write_rejects(storage, draft.name, plan, len(records))
    books = recount(storage, draft.kind, plan)
    manifest = replace(draft, files=files, shards=[shard.made for shard in records], books=books)
    write_manifest(storage, manifest)
    storage.delete("work")
    storage.delete(SCRATCH)
    return manifest


def _shard_files(records: Sequence[ShardRecord]) -> dict[str, FileRecord]:
    return {name: found for shard in records for name, found in shard.files.items()}


def _merge_tables(storage: Storage, records: Sequence[ShardRecord]) -> Iterator[tuple[str, FileRecord]]:
    """One file a question, a row group a shard."""
    parts: dict[str, list[str]] = {}
    for shard in records:
        for name in shard.files:
            parts.setdefault(name.split("/")[2], []).append(name)
    for question, names in sorted(parts.items()):
        target = f"scores/{question}.parquet"
        with storage.scratch() as path:
            with pq.ParquetWriter(path, TABLE_SCHEMA, compression="zstd") as writer:
                for name in names:
                    with storage.open(name) as file:
                        writer.write_table(pq.read_table(file))
            storage.publish(path, target)
        yield target, record(storage, target)


def _write_rejects(storage: Storage, step: str, plan: PlanSummary, shards: int) -> FileRecord:
    rows = [
        {"key": entry.origin, "stage": "plan", "reason": entry.reason, "detail": entry.detail}
        for entry in plan.refused
    ]
    for shard in range(shards):
        value = json.loads(storage.read(f"{assemble.FOLDER}/{shard_name(shard)}.json"))
        rows += [{"stage": step, **reject} for reject in value["rejects"]]
    with storage.scratch() as path:
        pq.write_table(pa.Table.from_pylist(rows, schema=REJECT_SCHEMA), path, compression="zstd")
        storage.publish(path, REJECTS)
    return record(storage, REJECTS)


def recount(storage: Storage, kind: str, plan: PlanSummary) -> Books:
    """The books of a directory, counted from what lies in it and not from what its workers said."""
    refused = reasons_of(plan.refused)
    with storage.open(REJECTS) as file:
        reasons = pq.read_table(file, columns=["reason"]).column("reason").to_pylist()
    return Books(
        read=plan.read,
        used=plan.used,
        unused=plan.read - plan.used - sum(refused.values()),
        refused=sum(refused.values()),
        planned=plan.planned,
        made=_scored(storage) if kind == "scores" else _indexed(storage),
        failed=len(reasons) - sum(refused.values()),  # by count: a step may itself be named "plan"
        reasons=dict(sorted(Counter(reasons).items())),
    )


def _indexed(storage: Storage) -> int:
    total = 0
    for name in storage.names("index"):
        with storage.open(f"index/{name}") as file:
            total += pq.read_metadata(file).num_rows
    return total


def _scored(storage: Storage) -> int:
    """Samples with a row in some table: a question need not have been asked of all."""
    keys: set[str] = set()
    for name in storage.names("scores"):
        with storage.open(f"scores/{name}") as file:
            table = pq.ParquetFile(file)
            for group in range(table.num_row_groups):
                keys.update(table.read_row_group(group, columns=["key"]).column("key").to_pylist())
    return len(keys)


def read_rejects(storage: Storage) -> list[dict[str, Any]]:
    """What could not be made, with reasons: key, stage, reason, detail."""
    with storage.open(REJECTS) as file:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows
