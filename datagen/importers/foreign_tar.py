"""Walks a tar of another hand front to back: long names, extended headers, sparse files and links are told.

Python's tarfile is not used here: it follows sparse maps, reads headers of any length into memory, and stops
at the first damaged one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from shards.reason import ReasonError
from shards.tar_header import BLOCK, PLAIN, SPARSE, Header, HeaderError, parse_header

MAX_HEADER_BYTES = 64 << 10  # of a long name or an extended header
READ_BYTES = 1 << 20
SHOWN = 120  # characters of a foreign name in a message
NO_CONTENTS = (b"1", b"2", b"3", b"4", b"5", b"6")  # whatever size their headers say
EXTENSIONS = (b"L", b"K", b"x", b"g")  # of the next member's header
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh")
SET_FOR_ALL = {b"path", b"size", b"linkpath"}  # what no global header may set: it would hold for every member


class ForeignTarError(ReasonError, ValueError):
    """From here on the tar makes no sense; what came before it is whole."""


@dataclass(frozen=True)
class Fault:
    """Why a member cannot be used; `origin` names it as `file.tar:member`, where that is known."""

    reason: str
    detail: str
    origin: str = ""


@dataclass(frozen=True)
class Member:
    """A member as its headers have it.

    Attributes:
        name: what is no UTF-8 in it is replaced.
        offset: of its first byte.
        size: its bytes; 0 of what has no contents.
        kind: as in its header; a sparse file's is `SPARSE` in every dialect.
        fault: why it cannot be used, by its headers alone.
    """

    name: str
    offset: int
    size: int
    kind: bytes
    fault: Fault | None


class Input(Protocol):
    """What a tar is read from; `at` is the next byte's place."""

    @property
    def at(self) -> int: ...

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""

    def skip(self, size: int) -> None:
        """Pass over bytes, perhaps beyond the end."""


@dataclass(frozen=True)
class _Said:
    """What extensions say of the next member."""

    name: bytes | None = None
    size: int | None = None
    is_sparse: bool = False
    fault: Fault | None = None


def walk(tar: Input) -> Iterator[Member]:
    """Members in order. While the walk stands at one, its bytes may be read from `tar`, some or all.

    Raises:
        ForeignTarError: `truncated`, `bad_header`, `compressed`, or `trailing_data` after the end marker.
    """
    said = _Said()
    while (header := _header(tar)) is not None:
        if header.kind in EXTENSIONS:
            said = _extended(said, header, tar)
            continue
        while header.has_map:
            header = header._replace(has_map=exactly(tar, BLOCK)[504] != 0)
        member = _member(header, said, tar.at)
        yield member
        tar.skip(member.offset + _padded(member.size) - tar.at)
        said = _Said()
    _check_rest(tar)


def exactly(tar: Input, size: int) -> bytes:
    """So many bytes.

    Raises:
        ForeignTarError: the tar ends before.
    """
    parts, missing = [], size
    while missing:
        part = tar.read(min(missing, READ_BYTES))
        if not part:
            raise ForeignTarError(
                "truncated", f"at byte {tar.at}: expected {missing} bytes more, got the end of the file"
            )
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _header(tar: Input) -> Header | None:
    start = tar.at
    block = exactly(tar, BLOCK)
    if block.count(0) == BLOCK:
        return None
    try:
        return parse_header(block)
    except HeaderError as error:
        if block.startswith(COMPRESSED):
            raise ForeignTarError(
                "compressed", "expected a plain tar, got a compressed one: unpack it first"
            ) from error
        raise ForeignTarError(
            "bad_header", f"at byte {start}: expected a tar header, got {error!s:.200}"
        ) from error


def _member(header: Header, said: _Said, offset: int) -> Member:
    if said.is_sparse:
        header = header._replace(kind=SPARSE)
    raw = header.name if said.name is None else said.name
    name, fault = raw.decode(errors="replace"), said.fault
    if header.kind != PLAIN:
        fault = fault or Fault("member_type", f"expected a plain file, got {header.what}")
    elif name.encode() != raw:
        fault = fault or Fault("bad_name", f"expected a name in UTF-8, got {raw[:SHOWN]!r}")
    size = header.size if said.size is None else said.size
    return Member(name, offset, 0 if header.kind in NO_CONTENTS else size, header.kind, fault)


def _extended(said: _Said, header: Header, tar: Input) -> _Said:
    """What is said of the next member, with what one more header says."""
    if header.size > MAX_HEADER_BYTES:
        tar.skip(_padded(header.size))
        fault = Fault("giant_header", f"expected at most {MAX_HEADER_BYTES} bytes, got {header.size}")
        return replace(said, fault=said.fault or fault)
    data = exactly(tar, _padded(header.size))[: header.size]
    if header.kind == b"L":
        return replace(said, name=data.partition(b"\0")[0])
    if header.kind == b"K":
        return said
    try:
        values = _pax(data)
    except ValueError as error:
        fault = Fault("bad_header", f"expected an extended header, got {error}")
        return replace(said, fault=said.fault or fault)
    if header.kind == b"g":
        if found := sorted(SET_FOR_ALL & set(values)):
            raise ForeignTarError("bad_header", f"at byte {tar.at}: a global header sets {found[0].decode()}")
        return said
    return replace(
        said,
        name=values.get(b"GNU.sparse.name", values.get(b"path", said.name)),
        size=int(values[b"size"]) if b"size" in values else said.size,
        is_sparse=said.is_sparse or any(name.startswith(b"GNU.sparse") for name in values),
    )


def _pax(data: bytes) -> Mapping[bytes, bytes]:
    """The records of an extended header, each `LENGTH NAME=VALUE` and a line's end."""
    values: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        digits = data[start : start + 6].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        if not len(digits) < length <= len(data) - start:
            raise ValueError(f"a length of {digits!r}")
        record = data[start + len(digits) + 1 : start + length]
        name, _, value = record.removesuffix(b"\n").partition(b"=")
        if name == b"size" and not value.isdigit():
            raise ValueError(f"a size of {value[:20]!r}")
        values[name] = value
        start += length
    return values


def _check_rest(tar: Input) -> None:
    """What follows the end marker would be lost without a word, as when tars are joined with cat."""
    while part := tar.read(READ_BYTES):
        if part.count(0) != len(part):
            raise ForeignTarError(
                "trailing_data",
                "expected nothing after its end marker, got data; tars that were joined must be taken apart",
            )
