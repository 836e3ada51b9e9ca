"""What lies in a folder that is not ours: names, sizes, and a hash that knows neither place nor time."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pyarrow import fs

from shards.sample import Json, canonical_json
from shards.storage import Storage

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
WHOLE_BYTES = 16 << 20
BLOCKS = 16
BLOCK_BYTES = 64 << 10
READERS = 16  # an object store answers each in some 30 ms, one after the other

VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class ListingError(ValueError):
    """A folder that is not there or not what it should be: *where: expected what, got what; the way out*."""


def expand(path: str) -> str:
    """`path` with `$NAME` and `${NAME}` from the environment.

    Raises:
        ListingError: naming the first variable that is not set.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ListingError(f"{path}: expected the variable {name} to be set; set it, or the path itself")
        return os.environ[name]

    return VARIABLE.sub(value, path)


def list_files(storage: Storage) -> Mapping[str, int]:
    """Bytes of each file by its name in the folder, sorted; hidden files and folders are left out.

    Raises:
        ListingError: there is no such folder, or it is a file.
    """
    root = storage.path()
    kind = storage.filesystem.get_file_info(root).type
    if kind == fs.FileType.NotFound:
        raise ListingError(f"{storage.uri}: expected a folder, got none; set its path")
    if kind == fs.FileType.File:
        raise ListingError(
            f"{storage.uri}: expected a folder, got a file; set the path of the one it lies in"
        )
    selector = fs.FileSelector(root, recursive=True)
    found = {
        info.path[len(root) :].lstrip("/"): int(info.size or 0)
        for info in storage.filesystem.get_file_info(selector)
        if info.type == fs.FileType.File
    }
    return {name: found[name] for name in sorted(found) if not _is_hidden(name)}


def listing_digest(storage: Storage, sizes: Mapping[str, int]) -> str:
    """A hash over names, sizes and samples of the files' bytes, the same on a disk and in an object store.

    A file up to `WHOLE_BYTES` counts whole, a larger one by 16 blocks of it, the last one among them: there a
    gzip stream has the checksum of its contents and a parquet file its directory. Pictures count by name and
    size alone, as there may be millions, and each is hashed when it is read.

    Raises:
        OSError: a file cannot be read.
    """
    looked_at = [name for name in sizes if not name.lower().endswith(PICTURES)]
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        probed = pool.map(lambda name: probe(storage, name, sizes[name]), looked_at)
        listing: dict[str, Json] = {**sizes, **dict(zip(looked_at, probed, strict=True))}
    return hashlib.sha256(canonical_json(listing)).hexdigest()


def probe(storage: Storage, name: str, size: int) -> list[Json]:
    """A file's size and a hash of its bytes, or, where it is large, of some of them."""
    digest = hashlib.sha256()
    with storage.open(name) as file:
        if size <= WHOLE_BYTES:
            digest.update(file.read())
        else:
            for number in range(BLOCKS):
                digest.update(file.read_at(BLOCK_BYTES, (size - BLOCK_BYTES) * number // (BLOCKS - 1)))
    return [size, digest.hexdigest()]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
