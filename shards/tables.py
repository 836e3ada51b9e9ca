"""Question tables: one parquet a question, a row for each (key, reference, candidate) it was asked of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.storage import Storage

WHOLE = -1  # `reference` and `candidate` of a question about the whole sample

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("reference", pa.int16()),
        ("candidate", pa.int16()),
        ("probabilities", pa.list_(pa.float32())),
        ("mode", pa.float64()),
        ("expected", pa.float64()),
        ("label_mass", pa.float64()),
        ("status", pa.string()),
    ]
)


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the one schema."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)


def write_tables(tables: Iterable[pa.Table], path: Path) -> int:
    """Write a question's tables one after the other, a row group each; return the rows written."""
    rows = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return rows


def questions(storage: Storage) -> list[str]:
    """Names of the questions a directory has tables of."""
    return [name.removesuffix(".parquet") for name in storage.names("scores")]


def read_table(storage: Storage, question: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One question's table.

    Raises:
        StorageError: there is no such question.
    """
    with storage.open(f"scores/{question}.parquet") as file:
        return pq.read_table(file, columns=columns)
