"""What lies in a folder that is not ours: names and sizes, and a hash of both that knows no place."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping

from pyarrow import fs

from shards.sample import canonical_json
from shards.storage import Storage

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
        ListingError: there is no such folder.
    """
    if not storage.exists():
        raise ListingError(f"{storage.uri}: expected a folder, got none; set its path")
    root = storage.path()
    selector = fs.FileSelector(root, recursive=True)
    found = {
        info.path[len(root) :].lstrip("/"): int(info.size or 0)
        for info in storage.filesystem.get_file_info(selector)
        if info.type == fs.FileType.File
    }
    return {name: found[name] for name in sorted(found) if not _is_hidden(name)}


def listing_digest(sizes: Mapping[str, int]) -> str:
    """A hash over names and sizes."""
    return hashlib.sha256(canonical_json(sizes)).hexdigest()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
