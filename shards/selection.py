"""A selection: which samples of a directory are kept, and for each other the first rule that rejected it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.storage import Storage

SCHEMA = pa.schema([("key", pa.string()), ("keep", pa.bool_()), ("reason", pa.string())])
FILE = "selection.parquet"


def write_selection(table: pa.Table, path: Path) -> None:
    """Write key, keep, reason."""
    pq.write_table(table.cast(SCHEMA), path, compression="zstd")


def read_selection(storage: Storage) -> pa.Table:
    """A finished selection.

    Raises:
        StorageError: the directory holds none.
    """
    with storage.open(FILE) as file:
        return pq.read_table(file, schema=SCHEMA)


def kept_keys(storage: Storage) -> set[str]:
    """Keys of the samples that are kept."""
    table = read_selection(storage)
    return set(table.filter(table.column("keep")).column("key").to_pylist())
