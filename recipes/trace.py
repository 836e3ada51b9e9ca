"""A sample's whole way: origin, steps, scores, decisions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from recipes.schema import RecipeError
from shards.finish import read_rejects
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


def find_sample(out: Storage, key: str) -> tuple[Finished, Sample] | None:
    """The first directory that holds a key, and the sample."""
    for directory in finished(out):
        if directory.manifest.kind == "samples":
            opened = Directory(directory.storage)
            if key in opened.places:
                return directory, opened[key]
    return None


def unknown_key(out: Storage, key: str) -> str:
    """The message for a key that nothing holds, with the nearest ones that are held."""
    keys = {
        held
        for directory in finished(out)
        if directory.manifest.kind == "samples"
        for held in Directory(directory.storage).places
    }
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.3) or sorted(keys)[:3]
    known = f"expected a key of its {len(keys)} samples"
    return f"{out.uri}: {known}, got {key!r}; near: {', '.join(near) or 'none'}"


def why(out: Storage, key: str) -> list[str]:
    """Lines that tell a sample's way through every finished directory.

    >>> why(Storage("/nowhere"), "base-0")
    []
    """
    lines: list[str] = []
    for directory in finished(out):
        tell = {"samples": _made, "scores": _scored, "selection": _decided}.get(directory.manifest.kind)
        lines += [f"{directory.name}: {line}" for line in (tell(directory, key) if tell else ())]
    return lines


def _made(directory: Finished, key: str) -> Iterator[str]:
    opened = Directory(directory.storage)
    if key in opened.places:
        shard, row = opened.places[key]
        sample = opened.sample(shard, row)
        found = sample.provenance
        what = ", ".join(word for word in (found.task, found.case) if word)
        yield f"in shard {shard:05d}, row {row}: {what}"
        yield f"from {found.source} ({found.licence})"
        if found.parents:
            yield f"made from {', '.join(found.parents)}"
        yield f"origin: {_short(dict(found.origin))}"
        if found.truth:
            yield f"truth: {_short(dict(found.truth))}"
    for reject in read_rejects(directory.storage):
        if reject["key"] == key:
            yield f"rejected: {reject['reason']}: {reject['detail']}"


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 300 else text[:297] + "..."


def _scored(directory: Finished, key: str) -> Iterator[str]:
    for question in questions(directory.storage):
        table = read_table(directory.storage, question)
        for row in table.filter(pc.equal(table.column("key"), key)).to_pylist():
            place = "" if row["reference"] < 0 else f" of reference {row['reference']}"
            if row["status"] != "ok":
                yield f"{question}{place}: {row['status']} (label mass {row['label_mass']:.2f})"
            else:
                yield f"{question}{place}: {row['expected']:.2f} (mode {row['mode']:g})"


def _decided(directory: Finished, key: str) -> Iterator[str]:
    table = read_selection(directory.storage)
    for row in table.filter(pc.equal(table.column("key"), key)).to_pylist():
        yield "kept" if row["keep"] else f"rejected: {row['reason']}"
