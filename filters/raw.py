"""Raw references: what an edited reference was before an editor added to it, found through the parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from filters.checks import is_swap
from filters.lineage import trace
from shards.driver_step import Input
from shards.index import Directory
from shards.manifest import ManifestError, read_manifest
from shards.sample import EncodedImage, Sample
from shards.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Edited(Sample):
    """A sample with the raw form of its edited references beside it.

    Attributes:
        raw: by number of the reference, from 0; none of one that was not edited.
        known: references of which it is known what they were before, edited or not.
    """

    raw: Mapping[int, EncodedImage] = field(default_factory=dict)
    known: frozenset[int] = frozenset()

    @property
    def images(self) -> dict[str, EncodedImage]:
        """Every image by name: `ref0`, ..., `target`, and `raw0`, ... where there is one."""
        named = {f"raw{number}": image for number, image in self.raw.items()}
        return super().images | named


def ancestors(storages: Sequence[Storage]) -> list[Storage]:
    """Directories of samples that these were made from, near ones first.

    Raises:
        ManifestError: one is not finished.
        LineageError: a parent is not there.
    """
    inputs = []
    for storage in storages:
        manifest = read_manifest(storage)
        if manifest is None:
            raise ManifestError(f"{storage.uri}: expected a finished directory, got none; run its step first")
        inputs.append(Input(storage=storage, manifest=manifest))
    own = {each.manifest.directory for each in inputs}
    found = trace(inputs).of_kind("samples")
    return [step.storage for name, step in reversed(list(found)) if name not in own]


class RawReferences:
    """Finds raw references in the directories that a set was made from.

    A sample names its parents by key; keys are of content, so the first directory that holds one will do.
    """

    def __init__(self, directories: Sequence[Storage]) -> None:
        self._storages = directories

    @cached_property
    def _directories(self) -> list[Directory]:
        return [Directory(storage) for storage in self._storages]

    def beside(self, sample: Sample) -> Edited:
        """`sample` with the raw form of each reference that differs from its parent's."""
        parent = self._parent(sample)
        return beside_raw(sample, parent.references if parent else ())

    def _parent(self, sample: Sample) -> Sample | None:
        keys = sample.provenance.parents
        if len(keys) != 1 or is_swap(sample):
            return None
        held = (directory for directory in self._directories if keys[0] in directory.places)
        found = next(held, None)
        return found[keys[0]] if found else None


def beside_raw(sample: Sample, before: Sequence[EncodedImage]) -> Edited:
    """`sample` beside what its references were before; nothing is known where they are not as many."""
    fields = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
    if is_swap(sample) or len(before) != len(sample.references):
        return Edited(**fields)
    pairs = enumerate(zip(sample.references, before, strict=True))
    raw = {number: old for number, (now, old) in pairs if now.data != old.data}
    return Edited(**fields, raw=raw, known=frozenset(range(len(before))))
