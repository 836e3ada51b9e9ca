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
        raw: by number of the reference, from 0.
    """

    raw: Mapping[int, EncodedImage] = field(default_factory=dict)

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
        pairs = list(enumerate(zip(sample.references, parent.references, strict=False))) if parent else []
        is_edit = parent is not None and len(parent.references) == len(sample.references)
        raw = {number: before for number, (now, before) in pairs if is_edit and now.data != before.data}
        fields = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
        return Edited(**fields, raw={} if is_swap(sample) else raw)

    def _parent(self, sample: Sample) -> Sample | None:
        keys = sample.provenance.parents
        if len(keys) != 1 or is_swap(sample):
            return None
        held = (directory for directory in self._directories if keys[0] in directory.places)
        found = next(held, None)
        return found[keys[0]] if found else None
