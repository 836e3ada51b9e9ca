"""What a step reads: the samples of finished directories, and those that selections keep of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shards.index import Directory
from shards.manifest import ManifestError, read_manifest
from shards.sample import Json, canonical_json
from shards.selection import kept_keys
from shards.stage import IndexRow
from shards.storage import Storage


@dataclass(frozen=True)
class Samples:
    """Samples that a step may read: a directory, and which of its keys; None for all."""

    storage: Storage
    keep: frozenset[str] | None = None

    def rows(self, number: int) -> Iterator[IndexRow]:
        """Index rows of those samples, as those of input `number`."""
        rows = Directory(self.storage).rows(number)
        return rows if self.keep is None else (row for row in rows if row.key in self.keep)

    def __len__(self) -> int:
        return len(Directory(self.storage)) if self.keep is None else len(self.keep)


def samples_of(out: Storage, name: str) -> Samples:
    """The samples of a finished directory, or those that a selection keeps of another.

    Raises:
        ManifestError: there is no such finished directory.
    """
    storage = out.child(name)
    manifest = read_manifest(storage)
    if manifest is None:
        raise ManifestError(f"{storage.uri}: expected a finished directory, got none; run its step first")
    if manifest.kind != "selection":
        return Samples(storage)
    below = samples_of(out, manifest.parents["input"][0])
    keep = frozenset(kept_keys(storage))
    return Samples(below.storage, keep if below.keep is None else keep & below.keep)


def rows_of(inputs: Sequence[Samples]) -> Iterator[IndexRow]:
    """The index rows of a step's inputs, one after the other."""
    for number, samples in enumerate(inputs):
        yield from samples.rows(number)


def contents(out: Storage, parents: Mapping[str, Sequence[str]]) -> str:
    """A hash of what finished directories hold, those that selections point at included.

    It may change under the same name: `bakery retry` makes a judged step again, with fewer errors.
    """
    held = list(_held(out, [name for names in parents.values() for name in names]))
    return hashlib.sha256(canonical_json(held)).hexdigest()


def _held(out: Storage, names: Sequence[str]) -> Iterator[Json]:
    for name in names:
        manifest = read_manifest(out.child(name))
        if manifest:
            yield {file: [found.size, found.digest] for file, found in manifest.files.items()}
            yield from _held(out, manifest.parents["input"][:1] if manifest.kind == "selection" else ())
