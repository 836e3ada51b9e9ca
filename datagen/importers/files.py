"""Reads records whose pictures are files of the set or members spilt from its archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from datagen.importers.scratch import Scratch
from datagen.importers.source import Source
from datagen.importers.stage import Raw
from datagen.unusable import UnusableError
from shards.sample import Candidate, Json
from shards.storage import Storage, StorageError
from shards.tar import MAX_MEMBER_BYTES


class FileReader:
    """Reads by the places that `Paths.locate` gave."""

    def __init__(self, source: Source, scratch: str) -> None:
        self._source = source
        self._scratch = Scratch(Storage(scratch))

    def read(self, spec: Mapping[str, Json]) -> Raw:
        """One record with its pictures.

        Raises:
            UnusableError: a picture is not where the record says.
        """
        found = cast("Mapping[str, Any]", spec)
        return Raw(
            instruction=found["instruction"],
            images=[self._image(place) for place in found["images"]],
            origin=found["origin"],
            subjects=[[Candidate(name=name) for name in names] for names in found.get("subjects", ())],
            task=found.get("task", ""),
            case=found.get("case", ""),
            licence=found.get("licence", ""),
        )

    def _image(self, place: Mapping[str, Any]) -> bytes:
        if "archives" in place:
            return self._scratch.read(cast("Sequence[str]", place["archives"]), place["path"])
        return read_file(self._source.storage, place["file"])


def read_file(storage: Storage, name: str) -> bytes:
    """A picture that lies as a file.

    Raises:
        UnusableError: it went, or is larger than any picture.
    """
    try:
        size = storage.size(name)
        if size > MAX_MEMBER_BYTES:
            raise UnusableError("too_large", f"{name}: expected at most {MAX_MEMBER_BYTES} bytes, got {size}")
        return storage.read(name)
    except StorageError as error:
        raise UnusableError("missing_image", str(error)) from error
