"""A tar's header, read in one place for all dialects; what of it may stand in a tar, its reader decides."""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCK = 512
PLAIN = b"0"
SPARSE = b"S"
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
    b"L": "a long name",
    b"K": "a long link",
    SPARSE: "a sparse file",
    b"x": "an extended header",
    b"g": "a global header",
}
OCTAL = re.compile(rb"[\0 ]*([0-7]*)[\0 ]*")  # int() takes "-1", "0o1" and "1_0" too


class HeaderError(ValueError):
    """A block that is no tar header."""


class Header(NamedTuple):
    """What a header says.

    Attributes:
        name: with its prefix; its text's encoding is not known.
        size: bytes that follow.
        kind: the type's letter, a plain file's always "0".
        has_map: whether a sparse file's map goes on in the next block.
    """

    name: bytes
    size: int
    kind: bytes
    has_map: bool

    @property
    def what(self) -> str:
        """The kind in words."""
        return "a plain file" if self.kind == PLAIN else KINDS.get(self.kind, f"type {self.kind!r}")


def parse_header(block: bytes) -> Header:
    """The header in a block of `BLOCK` bytes.

    Raises:
        HeaderError: its checksum is wrong, or a number is none.
    """
    if sum(block) - sum(block[148:156]) + 8 * 32 != _octal(block[148:156]):
        raise HeaderError(f"{block[:60].rstrip(bytes(1))!r}: header checksum is wrong")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return Header(
        name=prefix + b"/" + name if prefix else name,
        size=_size(block[124:136]),
        kind=block[156:157].replace(b"\0", PLAIN),
        has_map=block[156:157] == SPARSE and block[482] != 0,
    )


def _size(field: bytes) -> int:
    if field[0] == 0x80:  # GNU's binary form of what octal cannot hold
        return int.from_bytes(field[1:], "big")
    return _octal(field)


def _octal(field: bytes) -> int:
    found = OCTAL.fullmatch(field)
    if not found:
        raise HeaderError(f"expected an octal number, got {field!r}")
    return int(found[1] or b"0", 8)
