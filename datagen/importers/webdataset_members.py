"""Members of a WebDataset tar of another hand, by their headers: usable, or with what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from datagen.importers.foreign_tar import SHOWN, Fault, ForeignTarError, Member, walk
from shards.sample import EXTENSIONS
from shards.tar import MAX_MEMBER_BYTES
from shards.tar_header import BLOCK

PART = re.compile(r"ref\d{1,3}|target")
LOST = "nothing after it can be read"


@dataclass(frozen=True)
class Entry:
    """One member: its name, the key it belongs to, and where its bytes are."""

    name: str
    key: str
    offset: int = 0
    size: int = 0
    fault: Fault | None = None


class _File:
    """A file as the walk's input; contents are passed over, not read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    @property
    def at(self) -> int:
        return self._file.tell()

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def skip(self, size: int) -> None:
        self._file.seek(min(self.at + size, self._size))  # a header may say more than a place can be


def scan(path: Path) -> Iterator[Entry]:
    """Members of a tar in order. Where it cannot be read on, the last entry says so, under the key that was
    being read: what that sample would have had is not known.
    """
    key, end, whole = "", 0, path.stat().st_size
    with path.open("rb") as file:
        try:
            for member in walk(_File(file, whole)):
                key, end = key_of(member.name), member.offset + member.size
                if end > whole:
                    fault = Fault("truncated", f"expected {member.size} bytes, got fewer; {LOST}")
                    yield _entry(replace(member, fault=fault), key, path.name)
                    return
                yield _entry(member, key, path.name)
        except ForeignTarError as error:
            where = f"@{end + -end % BLOCK}"
            fault = Fault(error.reason, f"{error}; {LOST}", f"{path.name}:{where}")
            yield Entry(where, key or where, fault=fault)


def _entry(member: Member, key: str, tar: str) -> Entry:
    fault = member.fault or name_fault(member.name, member.size)
    if fault:
        fault = replace(fault, origin=f"{tar}:{member.name[:SHOWN]}")
    return Entry(member.name, key, member.offset, member.size, fault)


def key_of(name: str) -> str:
    """All before the first dot of the file's own name, as WebDataset has it.

    >>> key_of("./set/0001.ref0.jpg")
    'set/0001'
    """
    folder, slash, base = name.removeprefix("./").rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0] or base}"


def name_fault(name: str, size: int) -> Fault | None:
    """What is wrong with a plain member by its name and size.

    >>> name_fault("a.ref0.jpg", 10)
    >>> name_fault("a.weights.pickle", 10).reason
    'member_type'
    """
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        return Fault("path_escape", f"expected a name inside the tar, got {name[:SHOWN]!r}")
    parts = name.rpartition("/")[2].lower().split(".")
    if not parts[0] or len(parts) < 2 or parts[-1] not in ("json", *EXTENSIONS):
        return Fault("member_type", f"expected KEY.json or KEY.NAME.jpg, png, webp, got {name[:SHOWN]!r}")
    wanted = 2 if parts[-1] == "json" else 3
    if len(parts) > wanted:
        return Fault("dotted_key", f"expected a key without a dot, got {name[:SHOWN]!r}: a reader cuts there")
    if wanted == 3 and (len(parts) < 3 or not PART.fullmatch(parts[1])):
        return Fault("member_name", f"expected KEY.ref0.jpg, ..., KEY.target.jpg, got {name[:SHOWN]!r}")
    if size > MAX_MEMBER_BYTES:
        return Fault("member_size", f"expected at most {MAX_MEMBER_BYTES} bytes, got {size}")
    return None
