"""Takedown: which directories hold a sample or what was made of it, and that it never comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from recipes.trace import Finished, broken_off, delete_directory, finished, made_from
from shards.forgotten import LIST, read_forgotten
from shards.index import Directory
from shards.sample import SampleError, canonical_json, check_key
from shards.selection import FILE as SELECTION
from shards.stage import IndexRow
from shards.storage import Storage
from shards.tables import questions

# What may hold them in a directory without a manifest: a plan, slices and scratch; what a takedown that broke
# off had begun to delete. A training that broke off has none of these.
HOLDING = {"work", "shards", "index", "scores", SELECTION, "report.html"}
SHOWN = 5  # keys that a line names


@dataclass(frozen=True)
class Affected:
    """A directory that goes: how many of its rows are forgotten; 0 where only what it was made from is."""

    name: str
    rows: int
    of: int


def read_keys(path: Storage, name: str) -> list[str]:
    """Keys of a text file, a line each.

    Raises:
        SampleError: a line is no key.
    """
    lines = path.read(name).decode("utf-8-sig", errors="replace").split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(check_key(line.strip()))
            except SampleError as error:
                raise SampleError(f"{name}:{number}: {error}") from error
    return found


def descendants(out: Storage, keys: Iterable[str], source: str | None) -> set[str]:
    """The keys, those of a source, and every sample made of one of them, over all directories of samples."""
    rows = _lineage(_samples(out))
    found = {*keys, *(key for key, of, _ in rows if source is not None and of == source)}
    grown = True
    while grown:
        more = {key for key, _, parents in rows if key not in found and found & parents}
        grown = bool(more)
        found |= more
    return found


def sources(out: Storage) -> set[str]:
    """Names of the sources that finished directories hold."""
    return {row.source for found in _samples(out) for row in Directory(found.storage).rows()}


def unseen(out: Storage, keys: Iterable[str]) -> list[str]:
    """Those of the keys that no directory of samples holds; perhaps they are only misspelt."""
    return sorted(set(keys) - {row.key for found in _samples(out) for row in Directory(found.storage).rows()})


def _samples(out: Storage) -> list[Finished]:
    return [found for found in finished(out) if found.manifest.kind == "samples"]


def _lineage(directories: Iterable[Finished]) -> set[tuple[str, str, frozenset[str]]]:
    """(key, source, parents' keys) of each sample; of a directory made from none, no tar is opened.

    What a step hands on is the same in all directories that hold it, and is read once.
    """
    read: dict[str, frozenset[str]] = {}
    found = set()
    for each in directories:
        directory = Directory(each.storage)
        for row in directory.rows():
            parents: frozenset[str] = frozenset()
            if each.manifest.parents:
                if row.digest not in read:
                    read[row.digest] = _parents(directory, row)
                parents = read[row.digest]
            found.add((row.key, row.source, parents))
    return found


def _parents(directory: Directory, row: IndexRow) -> frozenset[str]:
    return frozenset(json.loads(directory.text(row.shard, row.row))["provenance"]["parents"])


def affected(out: Storage, keys: set[str]) -> list[Affected]:
    """Directories that hold one of the keys, and all that was made from those, the last made first."""
    directories = finished(out)
    held = {found.name: _count(found, keys) for found in directories}
    gone = made_from(directories, [name for name, (rows, _) in held.items() if rows])
    return [Affected(name, *held[name]) for name in gone]


def _count(found: Finished, keys: set[str]) -> tuple[int, int]:
    """(rows of forgotten keys, rows) of a directory."""
    rows = list(_keys(found))
    return sum(key in keys for key in rows), len(rows)


def _keys(found: Finished) -> Iterator[str]:
    names = {
        "samples": [f"index/{name}" for name in found.storage.names("index")],
        "scores": [f"scores/{name}.parquet" for name in questions(found.storage)],
        "selection": [SELECTION],
    }.get(found.manifest.kind, [])
    for name in names:
        with found.storage.open(name) as file:
            yield from pq.read_table(file, columns=["key"]).column("key").to_pylist()


def forget(out: Storage, keys: Iterable[str], source: str | None, gone: Sequence[Affected]) -> None:
    """Write the list first, then delete: if it breaks off, the list stands, and the same call goes on with
    what is left. Only for who holds the lease."""
    old = read_forgotten(out)
    value: Mapping[str, Any] = {
        "keys": sorted(old.keys | set(keys)),
        "sources": sorted(old.sources | ({source} if source else set())),
    }
    out.write(LIST, canonical_json(value))
    for name in broken_off(out):
        if HOLDING & set(out.child(name).names()):
            out.delete(name)
    for entry in gone:
        delete_directory(out, entry.name)
