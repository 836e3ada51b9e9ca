"""Fingerprints of directories as columns: exact ones from the index, others from their tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.scored import parent_of, read_samples
from shards.driver_step import Input
from shards.tables import WHOLE


@dataclass(frozen=True)
class Prints:
    """One fingerprint a picture.

    Attributes:
        sample: [N] place of its sample among the keys.
        image: [N] number of the reference, -1 for the target.
        value: [N] uint64, or [N, C] float32.
    """

    sample: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    value: npt.NDArray[Any]

    def only(self, mask: npt.NDArray[np.bool_]) -> Prints:
        """Those that a mask names."""
        return Prints(self.sample[mask], self.image[mask], self.value[mask])


def samples_below(of: Input) -> Input:
    """The directory of samples under scores and selections."""
    while of.manifest.kind != "samples":
        of = parent_of(of)
    return of


def keys_of(of: Input) -> pa.Array:
    """Keys of a directory of samples, of a selection, or of what was fingerprinted."""
    while of.manifest.kind == "scores":
        of = parent_of(of)
    return read_samples(of).keys


def exact_prints(of: Input, keys: pa.Array) -> Prints:
    """The first 8 bytes of each picture's sha256, read from the index; no tar is opened.

    Among 3 million pictures two different ones share them with a probability of 2 in 10 million.
    """
    storage = samples_below(of).storage
    parts, rows, before = [], [], 0
    for name in storage.names("index"):
        with storage.open(f"index/{name}") as file:
            table = pq.read_table(file, columns=["key", "members"]).combine_chunks()
        parts.append(_exact(table.column("members").combine_chunks(), before))
        rows.append(table.column("key"))
        before += table.num_rows
    found = _joined(parts, np.empty(0, dtype=np.uint64))
    sample = _places(rows, keys)[found.sample]
    return Prints(sample, found.image, found.value).only(sample >= 0)


def _exact(members: pa.ListArray, before: int) -> Prints:
    """Of one shard, after `before` rows of others: `sample` is the row in all of them."""
    flat = members.flatten()
    part = pc.list_element(pc.split_pattern(flat.field("name"), "."), 1)
    is_image = pc.not_equal(part, "json")
    row, part, sha256 = (
        each.filter(is_image) for each in (pc.list_parent_indices(members), part, flat.field("sha256"))
    )
    numbers = pc.if_else(pc.equal(part, "target"), "-1", pc.replace_substring(part, "ref", ""))
    digests = np.frombuffer(b"".join(sha256.to_pylist()), dtype=">u8").reshape(-1, 4)[:, 0]
    places = row.to_numpy().astype(np.int64) + before
    return Prints(places, pc.cast(numbers, pa.int64()).to_numpy(), digests.astype(np.uint64))


def table_prints(of: Input, kind: str, keys: pa.Array) -> Prints:
    """Perceptual hashes packed into 64 bits, or vectors; a row group in memory at a time."""
    empty = np.empty(0, dtype=np.uint64) if kind == "phash" else np.empty((0, 1), dtype=np.float32)
    parts = []
    with of.storage.open(f"scores/{kind}.parquet") as file:
        parquet = pq.ParquetFile(file)
        places, before = _places([parquet.read(["key"]).column("key")], keys), 0
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, ["reference", "probabilities", "status"])
            place = places[before : before + table.num_rows]
            before += table.num_rows
            is_ok = pc.equal(table["status"], "ok").to_numpy() & (place >= 0)
            table = table.filter(is_ok).combine_chunks()
            if table.num_rows:
                parts.append(_values(table, kind, place[is_ok]))
    return _joined(parts, empty)


def _values(table: pa.Table, kind: str, places: npt.NDArray[np.int64]) -> Prints:
    flat = table.column("probabilities").combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    value = np.packbits(flat > 0.5, axis=1).view(">u8").ravel().astype(np.uint64) if kind == "phash" else flat
    return Prints(places, table.column("reference").to_numpy().astype(np.int64), value)


def _places(columns: list[pa.ChunkedArray], keys: pa.Array) -> npt.NDArray[np.int64]:
    """Where each row of some columns is among the keys, or -1. Once for all: each look-up hashes the keys."""
    rows = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    return np.asarray(pc.fill_null(pc.index_in(rows, value_set=keys), -1).to_numpy(), dtype=np.int64)


def _joined(parts: list[Prints], empty: npt.NDArray[Any]) -> Prints:
    if not parts:
        return Prints(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), empty)
    sample, image, value = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("sample", "image", "value")
    )
    return Prints(sample, image, value)


def targets(prints: Prints) -> Prints:
    """Those of targets."""
    return prints.only(prints.image == WHOLE)
