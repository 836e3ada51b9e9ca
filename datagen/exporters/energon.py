"""WebDataset shards with the sidecar that megatron-energon reads: no `energon prepare` is needed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from datagen.exporters.kept import Kept, Target
from datagen.exporters.tar_shards import Shard, write_shards
from shards.tar_header import BLOCK

META = ".nv-meta"
SAMPLES_A_SHARD = 1000

# Source: the tables that megatron-energon 7.4 itself makes; a test has it read ours.
TABLES = (
    (
        "CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, "
        "sample_index INTEGER NOT NULL, byte_offset INTEGER, byte_size INTEGER)"
    ),
    (
        "CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, "
        "content_byte_offset INTEGER, content_byte_size INTEGER)"
    ),
)
INDEXES = (
    "CREATE INDEX idx_samples_sample_key ON samples(sample_key)",
    "CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index)",
    "CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset)",
    (
        "CREATE INDEX idx_sample_parts_full ON sample_parts(tar_file_id, sample_index, part_name, "
        "content_byte_offset, content_byte_size)"
    ),
)


def export_energon(kept: Kept, target: Target) -> list[str]:
    """Write shards, their `.tar.idx` and `.nv-meta`; return lines for a person."""
    counts: dict[str, int] = {}
    with target.storage.scratch() as path:
        with closing(sqlite3.connect(path, isolation_level=None)) as base:
            base.execute("BEGIN")
            for statement in TABLES:
                base.execute(statement)
            shards = write_shards(
                target, kept.samples(), "shards", SAMPLES_A_SHARD, lambda s: s.parts["json"]
            )
            for number, shard in enumerate(shards):
                counts[shard.name] = len(shard.samples)
                _index(base, number, shard)
                target.write(f"{shard.name}.idx", _offsets(shard))
            for statement in INDEXES:
                base.execute(statement)
            base.execute("COMMIT")
        target.publish(Path(path), f"{META}/index.sqlite")
    _describe(target, counts)
    return [
        (
            f"{len(kept)} samples in {len(counts)} shards; CrudeWebdataset, as references vary in number: "
            "say in a cooker which of ref0..refN and target your task reads"
        )
    ]


def _index(base: sqlite3.Connection, number: int, shard: Shard) -> None:
    samples, parts = [], []
    for place, (key, members) in enumerate(shard.samples):
        start = members[0].offset - BLOCK
        samples.append((number, key, place, start, _end(shard, place) - start))
        for member in members:
            part = member.name.partition(".")[2]
            parts.append((number, place, part, member.offset, member.size))
    base.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", samples)
    base.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)


def _end(shard: Shard, place: int) -> int:
    """The byte after a sample's last padding."""
    last = shard.samples[place][1][-1]
    return last.offset + last.size + -last.size % BLOCK


def _offsets(shard: Shard) -> bytes:
    """Where each sample begins, and where the last one ends."""
    starts = [members[0].offset - BLOCK for _, members in shard.samples]
    return struct.pack(f"<{len(starts) + 1}Q", *starts, _end(shard, len(starts) - 1))


def _describe(target: Target, counts: dict[str, int]) -> None:
    info = {"energon_version": "7.4.1", "shard_counts": counts}
    target.write(f"{META}/.info.json", json.dumps(info, indent=1).encode())
    target.write(f"{META}/split.yaml", _yaml_split(list(counts)))
    target.write(f"{META}/dataset.yaml", b"__module__: megatron.energon\n__class__: CrudeWebdataset\n")
    digest = hashlib.sha256(json.dumps([target.sha256, info], sort_keys=True).encode()).digest()
    target.write(f"{META}/index.uuid", str(uuid.UUID(bytes=digest[:16], version=4)).encode())


def _yaml_split(names: Sequence[str]) -> bytes:
    return json.dumps(
        {"split_parts": {"train": names, "val": [], "test": []}, "exclude": []}, indent=1
    ).encode()
