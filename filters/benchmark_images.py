"""Pictures of a benchmark, in files or parquet cells, fingerprinted at once: they are a few thousand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.embedder import EmbeddedEmbedderConfig
from filters.fingerprint import phash
from filters.prints import Prints
from shards.image import ImageError
from shards.listing import expand, list_files, listing_digest
from shards.sample import EncodedImage
from shards.storage import Storage
from shards.tables import WHOLE

EXTENSIONS = ("jpg", "jpeg", "png", "webp")
ROWS = 16


@dataclass(frozen=True)
class BenchmarkImages:
    """The folder of a benchmark."""

    path: str

    @cached_property
    def storage(self) -> Storage:
        """Where it lies.

        Raises:
            ListingError: the path names a variable that is not set.
        """
        return Storage(expand(self.path).rstrip("/"))

    @cached_property
    def digest(self) -> str:
        """A hash of what it is, wherever it lies."""
        return listing_digest(self.storage, list_files(self.storage))

    def images(self) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of each picture; a name is that of its file, with row and column in a parquet."""
        for name in list_files(self.storage):
            if name.rpartition(".")[2].lower() in EXTENSIONS:
                yield name, self.storage.read(name)
            elif name.endswith(".parquet"):
                yield from self._cells(name)

    def _cells(self, name: str) -> Iterator[tuple[str, bytes]]:
        row = 0
        with self.storage.open(name) as file:
            for batch in pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20).iter_batches(ROWS):
                for values in batch.to_pylist():
                    for column, value in values.items():
                        yield from ((f"{name}:{row}:{column}", data) for data in _pictures(value))
                    row += 1

    def prints(self, kinds: Sequence[str]) -> tuple[pa.Array, dict[str, Prints]]:
        """Names of the pictures, and their fingerprints by kind; an undecodable one has its bytes only."""
        names: list[str] = []
        values: dict[str, list[tuple[int, Any]]] = {"exact": [], **{kind: [] for kind in kinds}}
        embedder = EmbeddedEmbedderConfig().build() if "embedding" in kinds else None
        for place, (name, data) in enumerate(self.images()):
            names.append(name)
            values["exact"].append((place, int.from_bytes(hashlib.sha256(data).digest()[:8], "big")))
            image = EncodedImage(data, _extension(data))
            try:
                if "phash" in kinds:
                    bits = np.array(phash(image)) > 0.5
                    values["phash"].append((place, int.from_bytes(np.packbits(bits).tobytes(), "big")))
                if embedder:
                    values["embedding"].append((place, embedder.embed(image)))
            except ImageError:
                continue
        return pa.array(names, pa.string()), {kind: _prints(kind, found) for kind, found in values.items()}


def _pictures(value: object) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _pictures(each)


def _extension(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "png"
    return "webp" if data[8:12] == b"WEBP" else "jpg"


def _prints(kind: str, found: Sequence[tuple[int, Any]]) -> Prints:
    places = np.array([place for place, _ in found], dtype=np.int64)
    value: Any = np.array(
        [value for _, value in found], dtype=np.float32 if kind == "embedding" else np.uint64
    )
    return Prints(places, np.full(len(found), WHOLE), value)
