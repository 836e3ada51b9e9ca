"""Scans a tar of another hand by its headers alone: each member is usable, or says what is wrong with it.

Python's tarfile is not used here: it follows sparse maps, reads headers of any length into memory, and stops
at the first damaged one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from shards.sample import EXTENSIONS
from shards.tar import BLOCK, MAX_MEMBER_BYTES

MAX_HEADER_BYTES = 64 << 10  # of a long name or an extended header
SHOWN = 120  # characters of a foreign name in a message
READ_BYTES = 1 << 20
PART = re.compile(r"ref\d{1,3}|target")
NO_CONTENTS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
}


@dataclass(frozen=True)
class Fault:
    """Why a member, and with it its sample, cannot be used; `origin` names it as `file.tar:member`."""

    reason: str
    detail: str
    origin: str = ""


@dataclass(frozen=True)
class Entry:
    """One member: its name, the key it belongs to, and where its bytes are."""

    name: str
    key: str
    offset: int = 0
    size: int = 0
    fault: Fault | None = None


class _UnreadableError(ValueError):
    """From here on the tar makes no sense."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class _Header:
    kind: bytes
    name: str | None
    size: int
    is_extended: bool  # a sparse file's map goes on in the next block


def scan(path: Path) -> Iterator[Entry]:
    """Members of a tar in order. Where it cannot be read on, the last entry says so, under the key that was
    being read: what that sample would have had is not known.
    """
    key = ""
    with path.open("rb") as file:
        scanner = _Scanner(file, path.stat().st_size)
        try:
            for entry in scanner.entries():
                key = entry.key
                yield _named(entry, path.name)
        except _UnreadableError as error:
            cut = scanner.cut_name
            where = f"@{scanner.offset}"
            fault = Fault(
                error.reason, f"{error}; nothing after it can be read", f"{path.name}:{cut or where}"
            )
            yield Entry(cut or where, key_of(cut) if cut else key or where, fault=fault)


def _named(entry: Entry, tar: str) -> Entry:
    if entry.fault is None:
        return entry
    return replace(entry, fault=replace(entry.fault, origin=f"{tar}:{entry.name[:SHOWN]}"))


class _Scanner:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.offset = 0
        self.cut_name = ""  # of the member that the end of the file cuts

    def entries(self) -> Iterator[Entry]:
        name: str | None = None
        size: int | None = None
        fault: Fault | None = None
        while (header := self._header()) is not None:
            if header.kind in b"LKxg" and header.kind:
                long_name, long_size, bad = self._extension(header)
                name, size, fault = (
                    long_name or name,
                    long_size if long_size is not None else size,
                    fault or bad,
                )
                continue
            entry = self._entry(header, name, header.size if size is None else size)
            yield replace(entry, fault=fault or entry.fault)
            name, size, fault = None, None, None
        self._check_rest()

    def _header(self) -> _Header | None:
        self._file.seek(self.offset)
        block = self._file.read(BLOCK)
        if len(block) < BLOCK:
            raise _UnreadableError(
                "truncated", f"expected a header at byte {self.offset}, got the end of the file"
            )
        if block.count(0) == BLOCK:
            return None
        header = parse(block, self.offset)
        self.offset += BLOCK
        return header

    def _entry(self, header: _Header, long_name: str | None, size: int) -> Entry:
        name = header.name if long_name is None else long_name
        shown = f"@{self.offset - BLOCK}" if name is None else name
        if header.kind in NO_CONTENTS:
            fault = Fault("member_type", f"expected a plain file, got {NO_CONTENTS[header.kind]}")
            return Entry(shown, key_of(shown), fault=fault)
        if header.is_extended:
            self._skip_map()
        start = self.offset
        self._skip(size, shown)
        return Entry(shown, key_of(shown), start, size, fault=_kind_fault(header) or name_fault(name, size))

    def _skip(self, size: int, name: str) -> None:
        self.offset += size + -size % BLOCK
        if self.offset > self._size:
            self.cut_name = name
            raise _UnreadableError("truncated", f"expected {size} bytes of {name[:SHOWN]}, got fewer")

    def _skip_map(self) -> None:
        while True:
            self._file.seek(self.offset)
            block = self._file.read(BLOCK)
            self.offset += BLOCK
            if len(block) < BLOCK or not block[504]:
                return

    def _extension(self, header: _Header) -> tuple[str | None, int | None, Fault | None]:
        """(name, size, fault) that a header for the next member gives it."""
        start = self.offset
        self._skip(header.size, header.name or "")
        if header.size > MAX_HEADER_BYTES:
            return (
                None,
                None,
                Fault("giant_header", f"expected at most {MAX_HEADER_BYTES} bytes, got {header.size}"),
            )
        self._file.seek(start)
        data = self._file.read(header.size)
        try:
            if header.kind == b"L":
                return data.partition(b"\0")[0].decode(), None, None
            return _pax(data, is_global=header.kind == b"g") if header.kind in b"xg" else (None, None, None)
        except (UnicodeDecodeError, ValueError) as error:
            return None, None, Fault("bad_header", f"expected an extended header, got {error}")

    def _check_rest(self) -> None:
        """What follows the end marker would be lost without a word, as when tars are joined with cat."""
        self._file.seek(self.offset)
        while part := self._file.read(READ_BYTES):
            if part.count(0) != len(part):
                raise _UnreadableError(
                    "trailing_data", f"expected nothing after its end at byte {self.offset}, got data"
                )


def parse(block: bytes, offset: int) -> _Header:
    """A header block.

    Raises:
        _UnreadableError: it is none.
    """
    if block[:2] == b"\x1f\x8b" or block[:4] in (b"\x28\xb5\x2f\xfd", b"BZh9"):
        raise _UnreadableError("compressed", "expected a plain tar, got a compressed one: unpack it first")
    try:
        stored, size = int(block[148:156].strip(b"\0 "), 8), _size(block[124:136])
    except ValueError as error:
        raise _UnreadableError(
            "bad_header", f"expected a tar header at byte {offset}, got {error}"
        ) from error
    if sum(block) - sum(block[148:156]) + 8 * 32 != stored:
        raise _UnreadableError("bad_header", f"expected a tar header at byte {offset}, got a wrong checksum")
    kind = block[156:157].replace(b"\0", b"0")
    is_ustar = block[257:265] == b"ustar\x0000"
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if is_ustar else b""
    try:
        text = (prefix + b"/" + name if prefix else name).decode()
    except UnicodeDecodeError:
        return _Header(kind, None, size, is_extended=False)
    return _Header(kind, text, size, is_extended=kind == b"S" and block[482] != 0)


def _size(field: bytes) -> int:
    if field[0] == 0x80:  # GNU's binary form of what octal cannot hold
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise ValueError(f"the size {field!r}")
    return int(digits or b"0", 8)


def _pax(data: bytes, *, is_global: bool) -> tuple[str | None, int | None, Fault | None]:
    values: dict[str, str] = {}
    while data:
        length = int(data.partition(b" ")[0])
        if not 0 < length <= len(data):
            raise ValueError(f"a length of {length}")
        name, _, value = data[:length].partition(b" ")[2].decode().removesuffix("\n").partition("=")
        values[name] = value
        data = data[length:]
    if any(name.startswith("GNU.sparse") for name in values):
        return (
            values.get("GNU.sparse.name"),
            None,
            Fault("member_type", "expected a plain file, got a sparse one"),
        )
    if is_global and values.keys() & {"path", "size", "linkpath"}:
        return None, None, Fault("bad_header", "expected a name of its own for each member, got a global one")
    return values.get("path"), int(values["size"]) if values.get("size", "").isdecimal() else None, None


def _kind_fault(header: _Header) -> Fault | None:
    if header.kind == b"0":
        return None
    found = "a sparse file" if header.kind == b"S" else f"type {header.kind!r}"
    return Fault("member_type", f"expected a plain file, got {found}")


def key_of(name: str) -> str:
    """All before the first dot of the file's own name, as WebDataset has it.

    >>> key_of("./set/0001.ref0.jpg")
    'set/0001'
    """
    folder, slash, base = name.removeprefix("./").rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0] or base}"


def name_fault(name: str | None, size: int) -> Fault | None:
    """What is wrong with a plain member by its name and size.

    >>> name_fault("a.ref0.jpg", 10)
    >>> name_fault("a.weights.pickle", 10).reason
    'member_type'
    """
    if name is None:
        return Fault("bad_name", "expected a name in UTF-8, got other bytes")
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
