"""Chosen members of archives, spilt to an indexed scratch tar: a gzip stream cannot be read at random."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.importers.archives import Archive, ArchiveError, Entry, read_archive
from datagen.importers.source import Source, SourceError
from datagen.importers.wanted import TEXT, InArchive, Wanted
from datagen.unusable import UnusableError
from shards.storage import Storage
from shards.tar import END, header
from shards.tar_header import BLOCK

FOLDER = "work/scratch"
SCHEMA = pa.schema(
    [
        ("path", TEXT),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
SEEN = 3  # names of members kept for messages
SHOWN = 120  # characters of a name in one
OPEN_FILES = 16


def spill(
    source: Source,
    archives: Mapping[str, Archive],
    wanted: Wanted,
    storage: Storage,
    threads: int,
    mapping: Sequence[str] = (),
) -> None:
    """Bring the chosen members of each archive into the step's directory; what is there is not read again.

    Archives are read side by side, as inflating, hashing and writing release Python's lock.

    Args:
        source: the set.
        archives: its archives, by name.
        wanted: paths, with the archives that may hold them.
        storage: the step's directory.
        threads: archives read at once.
        mapping: beginnings of paths that the recipe maps to archives.

    Raises:
        SourceError: archives that were read whole hold nothing of what their records name.
    """
    named = dict.fromkeys(name for group in wanted.groups for name in group)
    todo = [archives[name] for name in named if not storage.exists(_index_name(name))]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        spilt = pool.map(
            lambda archive: _spill_one(source, archive, InArchive(wanted, archive, mapping), storage), todo
        )
        list(spilt)
    found = {name: _Summary.read(storage, name) for name in named}
    for number, group in enumerate(wanted.groups):
        paths = np.flatnonzero(wanted.group_of == number)
        _check_found(source, group, [found[name] for name in group], wanted.path(int(paths[0])), len(paths))


def _name(archive: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(archive.encode()).hexdigest()[:16]}"


def _index_name(archive: str) -> str:
    return f"{_name(archive)}.parquet"


class _Place(NamedTuple):
    """Where a spilt member is; `reason` and `detail` where it cannot be used."""

    offset: int
    size: int
    reason: str = ""
    detail: str = ""


class _Spill:
    """What an archive gave so far: columns of its chosen members, and by path which of them is meant."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._member_of = np.zeros(len(wanted), np.uint32)  # from 1; most of the paths lie in other archives
        self._offsets, self._sizes, self._fits = array("q"), array("q"), array("h")
        self._names, self._ends = bytearray(), array("q", [0])
        self._faults: dict[int, tuple[str, str]] = {}
        self._ambiguous: dict[int, str] = {}
        self.seen: list[str] = []
        self.broken = self.detail = ""
        self.offset = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def meant(self, rows: Sequence[int], member: str, fit: int) -> list[int]:
        """Of the paths that a member fits those that no other fits better; of two alike neither is meant."""
        taken = []
        for row in rows:
            before = int(self._member_of[row]) - 1
            if before < 0 or fit > self._fits[before]:
                self._ambiguous.pop(row, None)
                taken.append(row)
            elif fit == self._fits[before] and (other := self._name(before)) != member:
                detail = f"expected one member of that name, got {other[:SHOWN]!r} and {member[:SHOWN]!r}"
                self._ambiguous[row] = detail
        return taken

    def add(self, rows: Sequence[int], entry: Entry, fit: int, size: int) -> None:
        """Note a member whose bytes follow."""
        if entry.fault:
            self._faults[len(self)] = entry.fault.reason, entry.fault.detail
        self._offsets.append(self.offset + BLOCK)
        self._sizes.append(size)
        self._fits.append(min(fit, (1 << 15) - 1))
        self._names += entry.name.encode()
        self._ends.append(len(self._names))
        self._member_of[list(rows)] = len(self)

    def forget(self) -> None:
        """All is in doubt."""
        self._member_of[:] = 0

    def _name(self, member: int) -> str:
        return self._names[self._ends[member] : self._ends[member + 1]].decode()

    def table(self) -> pa.Table:
        """A row a path, of `SCHEMA`."""
        rows = np.flatnonzero(self._member_of)
        members = self._member_of[rows].astype(np.int64) - 1
        faults = {n: self._faults[m] for n, m in enumerate(members.tolist()) if m in self._faults}
        faults |= {
            n: ("ambiguous_image", self._ambiguous[row])
            for n, row in enumerate(rows.tolist())
            if row in self._ambiguous
        }
        offsets, sizes = (np.array(column, np.int64)[members] for column in (self._offsets, self._sizes))
        words = [[faults[n][word] if n in faults else "" for n in range(len(rows))] for word in (0, 1)]
        notes = {"broken": self.broken, "detail": self.detail, "seen": "\n".join(self.seen)}
        table = pa.table([self._wanted.paths.take(pa.array(rows)), offsets, sizes, *words], schema=SCHEMA)
        return table.replace_schema_metadata(notes)


def _spill_one(source: Source, archive: Archive, wanted: InArchive, storage: Storage) -> None:
    spilt = _Spill(wanted.wanted)
    with storage.scratch() as path:
        with path.open("xb") as tar:
            try:
                _copy(read_archive(source, archive), wanted, tar, spilt)
            except ArchiveError as error:
                spilt.broken, spilt.detail = error.reason, str(error)
                if error.in_doubt:
                    spilt.forget()
                    tar.truncate(tar.seek(0))
            tar.write(END)
        storage.publish(path, f"{_name(archive.name)}.tar", is_durable=False)
    with storage.scratch() as path:
        pq.write_table(spilt.table(), path)
        storage.publish(path, _index_name(archive.name), is_durable=False)


def _copy(entries: Iterator[Entry], wanted: InArchive, tar: Any, spilt: _Spill) -> None:  # noqa: ANN401, a file
    for entry in entries:
        if len(spilt.seen) < SEEN:
            spilt.seen.append(entry.name[:SHOWN])
        found, fit = wanted.find(entry.name)
        rows = spilt.meant(found, entry.name, fit)
        if not rows:
            continue
        data = b"" if entry.fault else entry.read()  # first: it may break off
        spilt.add(rows, entry, fit, len(data))
        for part in (header(f"{len(spilt):08d}.image.bin", len(data)), data, bytes(-len(data) % BLOCK)):
            spilt.offset += tar.write(part)


class _Summary(NamedTuple):
    """What came of an archive: how many paths it holds, how it broke off, the first names of its members."""

    paths: int
    broken: str
    detail: str
    seen: Sequence[str]

    @classmethod
    def read(cls, storage: Storage, archive: str) -> _Summary:
        with storage.open(_index_name(archive)) as file:
            return cls.of(pq.ParquetFile(file))

    @classmethod
    def of(cls, index: Any) -> _Summary:  # noqa: ANN401, a pyarrow.parquet.ParquetFile
        notes = {name.decode(): value.decode() for name, value in (index.schema_arrow.metadata or {}).items()}
        return cls(index.metadata.num_rows, notes["broken"], notes["detail"], notes["seen"].split("\n"))


def _check_found(
    source: Source, group: Sequence[str], archives: Sequence[_Summary], path: str, paths: int
) -> None:
    if any(archive.paths or archive.broken for archive in archives):
        return
    seen = [name for archive in archives for name in archive.seen]
    raise SourceError(
        f"{source.where}: expected {path!r} and {paths - 1} more in {', '.join(group[:3])}, got "
        f"members like {', '.join(map(repr, seen[:3])) or 'none'}; say which archive holds what with "
        f"`archives: {{{path.split('/')[0]}: PATTERN}}`, or leave these records out with `where`"
    )


class _Index:
    """Where the spilt members of one archive are: columns, as each worker holds those of millions."""

    def __init__(self, table: pa.Table, summary: _Summary) -> None:
        self.summary = summary
        self._table = table.sort_by("path").combine_chunks()
        self._paths = self._table.column("path")

    @classmethod
    def read(cls, storage: Storage, archive: str) -> _Index:
        with storage.open(_index_name(archive)) as file:
            index = pq.ParquetFile(file)
            return cls(index.read(), _Summary.of(index))

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, path: str) -> _Place | None:
        """Where a path's member is."""
        row = bisect_left(range(len(self)), path, key=lambda row: str(self._paths[row]))
        if row == len(self) or str(self._paths[row]) != path:
            return None
        (found,) = self._table.slice(row, 1).to_pylist()
        return _Place(**{name: found[name] for name in _Place._fields})


class Scratch:
    """Reads spilt members on a worker."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._indexes: dict[str, _Index] = {}
        self._files: dict[str, Any] = {}

    def read(self, group: Sequence[str], path: str) -> bytes:
        """The bytes of a chosen member.

        Raises:
            UnusableError: no archive holds it whole.
        """
        places = {archive: self._index(archive).find(path) for archive in group}
        holding = {archive: place for archive, place in places.items() if place}
        files = {archive: place for archive, place in holding.items() if place.reason != "link"}
        found = [self._bytes(archive, path, place) for archive, place in (files or holding).items()]
        if any(data != found[0] for data in found):
            names = ", ".join(list(files)[:3])
            raise UnusableError(
                "ambiguous_image",
                f"{path}: expected one picture of that name, got others in {names}; say which archive holds "
                "it with `archives`",
            )
        if found:
            return found[0]
        for archive in group:
            if (summary := self._index(archive).summary).broken:
                raise UnusableError(summary.broken, f"{path}: {summary.detail}")
        raise UnusableError(
            "missing_image", f"{path}: expected it in {', '.join(group[:3])}, got nothing there"
        )

    def _bytes(self, archive: str, path: str, place: _Place) -> bytes:
        if place.reason:
            raise UnusableError(place.reason, f"{path}: in {archive}: {place.detail}")
        file = self._file(archive)
        file.seek(place.offset)
        return bytes(file.read(place.size))

    def _index(self, archive: str) -> _Index:
        if archive not in self._indexes:
            self._indexes[archive] = _Index.read(self._storage, archive)
        return self._indexes[archive]

    def _file(self, archive: str) -> Any:  # noqa: ANN401, a pyarrow.NativeFile
        if archive not in self._files:
            if len(self._files) >= OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[archive] = self._storage.open(f"{_name(archive)}.tar")
        return self._files[archive]
