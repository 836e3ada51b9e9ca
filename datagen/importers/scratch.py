"""Chosen members of archives, spilt to an indexed scratch tar: a gzip stream cannot be read at random."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.importers.archives import Archive, ArchiveError, Entry, read_archive
from datagen.importers.paths import Wanted
from datagen.importers.source import Source, SourceError
from datagen.unusable import UnusableError
from shards.storage import Storage
from shards.tar import END, header
from shards.tar_header import BLOCK

FOLDER = "work/scratch"
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
SEEN = 3  # names of members kept for messages
OPEN_FILES = 16

Group = tuple[str, ...]


def spill(
    source: Source,
    archives: Mapping[str, Archive],
    wanted: Mapping[Group, Iterable[str]],
    storage: Storage,
    threads: int,
    mapping: Sequence[str] = (),
) -> None:
    """Bring the chosen members of each archive into the step's directory; what is there is not read again.

    Archives are read side by side, as inflating, hashing and writing release Python's lock.

    Args:
        source: the set.
        archives: its archives, by name.
        wanted: paths by the archives that may hold them.
        storage: the step's directory.
        threads: archives read at once.
        mapping: beginnings of paths that the recipe maps to archives.

    Raises:
        SourceError: archives that were read whole hold nothing of what their records name.
    """
    by_archive: dict[str, list[str]] = {}
    for group, paths in wanted.items():
        for name in group:
            by_archive.setdefault(name, []).extend(paths)
    todo = [name for name in by_archive if not storage.exists(_index_name(name))]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        spilt = pool.map(
            lambda name: _spill_one(
                source, archives[name], Wanted(by_archive[name], archives[name], mapping), storage
            ),
            todo,
        )
        list(spilt)
    for group, paths in wanted.items():
        _check_found(source, storage, group, list(paths))


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


@dataclass
class _Spill:
    """What an archive gave so far: by path, the member that it means and the place of that."""

    members: dict[str, str] = field(default_factory=dict)
    places: dict[str, _Place] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    broken: str = ""
    detail: str = ""
    offset: int = 0


def _spill_one(source: Source, archive: Archive, wanted: Wanted, storage: Storage) -> None:
    spilt = _Spill()
    with storage.scratch() as path:
        with path.open("xb") as tar:
            try:
                _copy(read_archive(source, archive), wanted, tar, spilt)
            except ArchiveError as error:
                spilt.broken, spilt.detail = error.reason, str(error)
                if error.in_doubt:
                    spilt.places.clear()
                    tar.truncate(tar.seek(0))
            tar.write(END)
        storage.publish(path, f"{_name(archive.name)}.tar", is_durable=False)
    with storage.scratch() as path:
        _write_index(spilt, path)
        storage.publish(path, _index_name(archive.name), is_durable=False)


def _copy(entries: Iterator[Entry], wanted: Wanted, tar: Any, spilt: _Spill) -> None:  # noqa: ANN401, a file
    for entry in entries:
        if len(spilt.seen) < SEEN:
            spilt.seen.append(entry.name[:120])
        paths = _taken(wanted, entry.name, spilt)
        if not paths:
            continue
        data = b"" if entry.fault else entry.read()  # first: it may break off
        place = _Place(spilt.offset + BLOCK, len(data))
        if entry.fault:
            place = place._replace(reason=entry.fault.reason, detail=entry.fault.detail)
        spilt.members.update(dict.fromkeys(paths, entry.name))
        spilt.places.update(dict.fromkeys(paths, place))
        spilt.offset += tar.write(header(f"{len(spilt.places):08d}.image.bin", len(data)) + data)
        spilt.offset += tar.write(bytes(-len(data) % BLOCK))


def _taken(wanted: Wanted, member: str, spilt: _Spill) -> list[str]:
    """The paths that a member is meant by, if none fits better; of two that fit alike neither is meant."""
    taken = []
    for path in wanted.find(member):
        before = spilt.members.get(path)
        if before is None or wanted.fit(member) > wanted.fit(before):
            taken.append(path)
        elif before != member and wanted.fit(member) == wanted.fit(before):
            detail = f"expected one member of that name, got {before[:120]!r} and {member[:120]!r}"
            spilt.places[path] = _Place(0, 0, "ambiguous_image", detail)
    return taken


def _write_index(spilt: _Spill, path: Path) -> None:
    notes = {"broken": spilt.broken, "detail": spilt.detail, "seen": "\n".join(spilt.seen)}
    rows = [{"path": path, **place._asdict()} for path, place in spilt.places.items()]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata(notes)
    pq.write_table(table, path)


def _check_found(source: Source, storage: Storage, group: Group, paths: Sequence[str]) -> None:
    indexes = [_Index.read(storage, name) for name in group]
    if not paths or any(len(index) or index.broken for index in indexes):
        return
    seen = [name for index in indexes for name in index.seen]
    raise SourceError(
        f"{source.where}: expected {paths[0]!r} and {len(paths) - 1} more in {', '.join(group[:3])}, got "
        f"members like {', '.join(map(repr, seen[:3])) or 'none'}; say which archive holds what with "
        f"`archives: {{{paths[0].split('/')[0]}: PATTERN}}`, or leave these records out with `where`"
    )


class _Index:
    """Where the spilt members of one archive are: columns, as each worker holds those of millions."""

    def __init__(self, table: pa.Table) -> None:
        notes = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
        self.broken, self.detail, self.seen = notes["broken"], notes["detail"], notes["seen"].split("\n")
        self._table = table.sort_by("path").combine_chunks()
        self._paths = self._table.column("path")

    @classmethod
    def read(cls, storage: Storage, archive: str) -> _Index:
        with storage.open(_index_name(archive)) as file:
            return cls(pq.read_table(file))

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
            if self._index(archive).broken:
                raise UnusableError(self._index(archive).broken, f"{path}: {self._index(archive).detail}")
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
