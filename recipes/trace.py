"""A sample's whole way: origin, steps, scores, decisions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from recipes.schema import RecipeError
from shards.finish import REJECTS
from shards.index import Directory
from shards.manifest import FILE as MANIFEST
from shards.manifest import Manifest, read_manifest
from shards.sample import Sample
from shards.selection import read_selection
from shards.storage import Storage
from shards.tables import questions, read_table

NEAR = 8  # folders named beside one that is not there
STAMPS = ".verified"  # folder of an output: what was checked, see `shards.manifest.verify`
STEP_DIRECTORY = re.compile(r".+-[0-9a-f]{12}")


@dataclass(frozen=True)
class Finished:
    """A finished directory of an output.

    Attributes:
        name: of its folder; that of a selection made by `bakery select --out` is whatever was given.
    """

    name: str
    storage: Storage
    manifest: Manifest

    @property
    def reads(self) -> set[str]:
        """Names of the directories that it was made from."""
        return {name for names in self.manifest.parents.values() for name in names}


def existing(uri: str) -> Storage:
    """The output that a person named.

    Raises:
        RecipeError: there is none; nothing is made of a misspelt name.
    """
    out = Storage(uri)
    if not out.exists() or not out.names():
        beside = Path(uri).parent
        near = sorted(str(path) for path in beside.glob("*/")) if "://" not in uri else []
        known = f"; there are {', '.join(near[:NEAR])}" if near else ""
        raise RecipeError([f"{uri}: expected an output of `bakery run`, got no such folder{known}"])
    return out


def finished(out: Storage) -> list[Finished]:
    """Every finished directory of an output, by name."""
    found = []
    for name in out.folders():
        manifest = read_manifest(out.child(name))
        if manifest:
            found.append(Finished(name, out.child(name), manifest))
    return found


def broken_off(out: Storage) -> list[str]:
    """Names of directories of steps that were not finished, or not wholly deleted."""
    names = (name for name in out.folders() if STEP_DIRECTORY.fullmatch(name))
    return [name for name in names if not out.child(name).exists(MANIFEST)]


def delete_directory(out: Storage, name: str) -> None:
    """Delete a directory; its manifest first, as without it nothing of the directory counts."""
    out.delete(f"{name}/{MANIFEST}")
    out.delete(name)
    out.delete(f"{STAMPS}/{name}.json")


def in_line(directories: Sequence[Finished]) -> list[Finished]:
    """Finished directories, each after what it was made from, otherwise by name."""
    by_name = {directory.name: directory for directory in directories}
    reads = {name: sorted(found.reads & by_name.keys()) for name, found in by_name.items()}
    return [by_name[name] for name in TopologicalSorter(reads).static_order()]


def made_from(directories: Sequence[Finished], names: Iterable[str]) -> list[str]:
    """The named directories and all that were made from them, at any remove; the last made first.

    Deleted in this order, what is left at any moment still leads from the first made to all the rest.
    """
    found = set(names)
    while more := {each.name for each in directories if each.reads & found} - found:
        found |= more
    return [each.name for each in reversed(in_line(directories)) if each.name in found]


class Way:
    """The samples of an output by key, and what became of each."""

    def __init__(self, out: Storage) -> None:
        self._out = out
        self._directories = in_line(finished(out))
        self._opened = [
            (each, Directory(each.storage)) for each in self._directories if each.manifest.kind == "samples"
        ]

    def find(self, key: str, within: str = "") -> Sample | None:
        """The sample of a key, from the first directory of the line that holds it.

        Args:
            key: of the sample; a drawn sample has that of the one it was drawn for.
            within: the directory, or the step that made it; any unless set.

        Raises:
            RecipeError: no directory of samples is called so.
        """
        names = [name for each, _ in self._opened for name in (each.name, each.manifest.name)]
        if within and within not in names:
            known = ", ".join(sorted({each.manifest.name for each, _ in self._opened})) or "none"
            raise RecipeError([f"{self._out.uri}: expected a step of samples of {known}, got {within!r}"])
        opened = (opened for each, opened in self._opened if within in ("", each.name, each.manifest.name))
        return next((directory[key] for directory in opened if key in directory.places), None)

    def unknown(self, key: str) -> str:
        """The message for a key that nothing holds: why it was rejected, or the nearest that are held."""
        for directory, _ in self._opened:
            for reject in _rejects_of(directory.storage, key):
                why = f"it was rejected there: {reject['reason']}: {reject['detail']}"
                return f"{directory.storage.uri}: expected a sample {key!r}, got none; {why}"
        keys = {key for _, opened in self._opened for key in opened.places}
        near = difflib.get_close_matches(key, keys, n=3, cutoff=0.3) or sorted(keys)[:3]
        known = f"expected a key of its {len(keys)} samples"
        return f"{self._out.uri}: {known}, got {key!r}; near: {', '.join(near) or 'none'}"

    def lines(self, key: str) -> list[str]:
        """A sample's way through every finished directory, after the ways of those that it was made from.

        >>> Way(Storage("/nowhere")).lines("base-0")
        []
        """
        lines: list[str] = []
        for each in self._family(key):
            told = [
                f"  {directory.name}: {line}"
                for directory in self._directories
                for line in self._tell(directory, each)
            ]
            lines += [each, *told] if told else []
        return lines

    def _family(self, key: str) -> list[str]:
        """A key after those of the samples that it was made from, at any remove."""
        family, unread = [key], [key]
        while unread:
            sample = self.find(unread.pop())
            new = [parent for parent in (sample.provenance.parents if sample else ()) if parent not in family]
            family += new
            unread += new
        return family[::-1]

    def _tell(self, directory: Finished, key: str) -> Iterator[str]:
        match directory.manifest.kind:
            case "samples":
                opened = next(opened for each, opened in self._opened if each is directory)
                yield from _made(directory, opened, key)
            case "scores":
                yield from _scored(directory, key)
            case "selection":
                yield from _decided(directory, key)


def _made(directory: Finished, opened: Directory, key: str) -> Iterator[str]:
    if key in opened.places:
        shard, row = opened.places[key]
        found = opened.sample(shard, row).provenance
        what = ", ".join(word for word in (found.task, found.case) if word)
        yield f"in shard {shard:05d}, row {row}: {what}"
        yield f"from {found.source} ({found.licence or 'no licence named'})"
        if found.parents:
            yield f"made from {', '.join(found.parents)}"
        yield f"origin: {_short(dict(found.origin))}"
        if found.truth:
            yield f"truth: {_short(dict(found.truth))}"
    for reject in _rejects_of(directory.storage, key):
        yield f"rejected: {reject['reason']}: {reject['detail']}"


def _rejects_of(storage: Storage, key: str) -> list[dict[str, Any]]:
    """The rejects of a key, or of the place of a source that is called so: of a million rows these alone."""
    with storage.open(REJECTS) as file:
        table = pq.read_table(file)
    found: list[dict[str, Any]] = table.filter(pc.equal(table.column("key"), key)).to_pylist()
    return found


def _short(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 300 else text[:297] + "..."


def _scored(directory: Finished, key: str) -> Iterator[str]:
    for question in questions(directory.storage):
        table = read_table(directory.storage, question)
        for row in table.filter(pc.equal(table.column("key"), key)).to_pylist():
            image = "" if row["reference"] < 0 else f" of image {row['reference'] + 1}"
            candidate = "" if row["candidate"] < 0 else f", candidate {row['candidate'] + 1}"
            said = f"{row['status']} (label mass {row['label_mass']:.2f})"
            if row["status"] == "ok":
                said = f"{row['expected']:.2f} (mode {row['mode']:g})"
            yield f"{question}{image}{candidate}: {said}"


def _decided(directory: Finished, key: str) -> Iterator[str]:
    table = read_selection(directory.storage)
    for row in table.filter(pc.equal(table.column("key"), key)).to_pylist():
        yield "kept" if row["keep"] else f"rejected: {row['reason']}"
