"""What is exported: the samples of a finished directory, or those that a selection keeps, bytes untouched."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from shards.index import Directory, shard_name
from shards.manifest import Manifest, ManifestError, read_manifest
from shards.selection import kept_keys
from shards.storage import Storage

AHEAD = 4  # samples in memory beside the one that is written
ROWS = 64

T = TypeVar("T")


class ExportError(ValueError):
    """An export that cannot be made: *where: expected what, got what; the way out*."""


@dataclass(frozen=True)
class KeptSample:
    """A sample as its members' bytes, named `json`, `ref0.jpg`, ..., `target.jpg`."""

    key: str
    row: Mapping[str, Any]
    parts: Mapping[str, bytes]

    @property
    def images(self) -> list[tuple[str, bytes]]:
        """References in order, then the target: (member name, bytes)."""
        return [(name, data) for name, data in self.parts.items() if name != "json"]


@dataclass(frozen=True)
class Kept:
    """Samples of one directory; `keep` None for all.

    Attributes:
        name: of the directory that was named, for file names and cards.
        storage: of the directory that holds the samples.
        keep: keys that are exported.
        chain: manifests from the named directory down to its sources.
    """

    name: str
    storage: Storage
    keep: frozenset[str] | None
    chain: Sequence[Manifest]

    @cached_property
    def directory(self) -> Directory:
        """The directory that holds the samples."""
        return Directory(self.storage)

    @cached_property
    def index(self) -> pa.Table:
        """One row a sample, in order: shard, row and small columns; no member is in it."""
        columns = ["key", "references", "task", "case", "source", "licence"]
        tables = []
        for shard in self.directory.shards:
            with self.storage.open(f"index/{shard_name(shard)}.parquet") as file:
                table = pq.read_table(file, columns=columns)
            places = pa.table({"shard": pa.repeat(shard, len(table)), "row": pa.array(range(len(table)))})
            tables.append(pa.Table.from_arrays([*table.columns, *places.columns], [*columns, "shard", "row"]))
        whole = (
            pa.concat_tables(tables)
            if tables
            else pa.table({name: [] for name in (*columns, "shard", "row")})
        )
        if self.keep is None:
            return whole
        return whole.filter(
            pa.array([key in self.keep for key in whole.column("key").to_pylist()], pa.bool_())
        )

    def __len__(self) -> int:
        return int(self.index.num_rows)

    def samples(self, of: pa.Table | None = None) -> Iterator[KeptSample]:
        """Samples in order, members checked against their checksums; the next ones are read meanwhile.

        Args:
            of: some rows of `index`; all unless given.

        Raises:
            TarError: the directory changed since it was made.
        """
        return read_ahead(self._read(self.index if of is None else of), AHEAD)

    def _read(self, table: pa.Table) -> Iterator[KeptSample]:
        places = zip(table.column("shard").to_pylist(), table.column("row").to_pylist(), strict=True)
        for shard, of_shard in groupby(places, key=lambda place: place[0]):
            rows = [row for _, row in of_shard]
            for start in range(0, len(rows), ROWS):
                for found in self.directory.some_rows(shard, rows[start : start + ROWS]):
                    members = self.directory.read_members(shard, found["members"])
                    parts = {member.name.partition(".")[2]: data for member, data in members}
                    yield KeptSample(found["key"], found, parts)


def read_ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The items in order, up to `count` of the next ones made by a thread: reading and hashing need no lock.

    >>> list(read_ahead(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(count))
        while (found := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield cast(T, found)


def kept_of(name: str) -> Kept:
    """What a finished directory or selection keeps.

    Raises:
        ExportError: there is none of that name, or it keeps nothing.
    """
    storage = Storage(name.rstrip("/"))
    manifest = _manifest(storage)
    keep: frozenset[str] | None = None
    below = storage
    while manifest.kind == "selection":
        kept = frozenset(kept_keys(below))
        keep = kept if keep is None else keep & kept
        below = below.sibling(manifest.parents["input"][0])
        manifest = _manifest(below)
    if manifest.kind != "samples":
        raise ExportError(
            f"{name}: expected a directory of samples or a selection, got one of {manifest.kind}"
        )
    found = Kept(_manifest(storage).name, below, keep, tuple(_chain(storage)))
    if not len(found):
        raise ExportError(f"{name}: expected samples, got none; see its rejects or thresholds in the report")
    return found


def _manifest(storage: Storage) -> Manifest:
    manifest = read_manifest(storage)
    if manifest is None:
        raise ExportError(f"{storage.uri}: expected a finished directory, got none; run its step first")
    return manifest


def _chain(storage: Storage) -> Iterator[Manifest]:
    """Manifests of a directory and of all that it was made from, each once."""
    seen, open_ = set(), [storage]
    while open_:
        at = open_.pop(0)
        try:
            manifest = read_manifest(at)
        except ManifestError:
            manifest = None
        if manifest is None or manifest.directory in seen:
            continue
        seen.add(manifest.directory)
        yield manifest
        open_ += [at.sibling(name) for names in manifest.parents.values() for name in names]


class Target:
    """The folder an export is written to; each file is published whole, and counted."""

    def __init__(self, uri: str) -> None:
        self.storage = Storage(uri.rstrip("/"))
        if self.storage.names():
            raise ExportError(f"{uri}: expected an empty folder, got {len(self.storage.names())} files in it")
        self.sha256: dict[str, str] = {}

    def write(self, name: str, data: bytes) -> None:
        """Publish bytes."""
        self.sha256[name] = hashlib.sha256(data).hexdigest()
        self.storage.write(name, data, is_durable=False)

    def publish(self, path: Path, name: str) -> None:
        """Publish a finished local file."""
        self.storage.publish(path, name, is_durable=False)
