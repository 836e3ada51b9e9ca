"""Index rows as columns, for plans that must hold them all before they choose some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.stage import IndexRow

BATCH = 1 << 13  # rows that are Python's at once
FEW = pa.dictionary(pa.int32(), pa.string())  # of words that repeat
TYPES = {"key": pa.string(), "digest": pa.string()}
NUMBERS = ("references", "directory", "shard", "row")
NAMES = tuple(field.name for field in fields(IndexRow))
SCHEMA = pa.schema([(name, pa.int32() if name in NUMBERS else TYPES.get(name, FEW)) for name in NAMES])


class RowColumns:
    """Rows by the number in which they came: about half the memory that objects take."""

    def __init__(self) -> None:
        self._batches: list[pa.Table] = []
        self._open: list[IndexRow] = []

    def add(self, row: IndexRow) -> int:
        """Keep a row; return its number."""
        if len(self._open) == BATCH:
            self._batches.append(_table(self._open))
            self._open = []
        self._open.append(row)
        return len(self._batches) * BATCH + len(self._open) - 1

    def in_order(self, numbers: npt.NDArray[np.int64]) -> Iterator[IndexRow]:
        """Rows of these numbers, in the order in which the inputs hold them."""
        whole = pa.concat_tables([*self._batches, _table(self._open)]).unify_dictionaries()
        places = [(name, "ascending") for name in ("directory", "shard", "row")]
        for batch in whole.take(pa.array(numbers)).sort_by(places).to_batches(BATCH):
            yield from (IndexRow(**values) for values in batch.to_pylist())


def _table(rows: Sequence[IndexRow]) -> pa.Table:
    return pa.table(
        [pa.array([getattr(row, name) for row in rows], SCHEMA.field(name).type) for name in NAMES], SCHEMA
    )
