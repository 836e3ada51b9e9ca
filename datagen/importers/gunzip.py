"""A gzip stream's contents, held against its checksums; how it ended is told: cut, damaged, gone on."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

from shards.reason import ReasonError

PACKED_BYTES = 64 << 10  # larger blocks are given back to the system each time, and paged in again
BEGIN = b"\x1f\x8b"

Ending = Literal["truncated", "damaged", "trailing_data"]


class GzipError(ReasonError, ValueError):
    """How a stream ended that did not end well: `truncated`, `damaged` or `trailing_data`."""

    def __init__(self, reason: Ending, message: str) -> None:
        super().__init__(reason, message)


class Gunzip:
    """Streams one after the other are one, as with gzip itself; zeros after the last are filling."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._packed, self._data, self._at = b"", b"", 0
        self._stream: zlib._Decompress | None = None
        self._is_first = True

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end.

        Raises:
            GzipError: what was read before a `damaged` one is in doubt; before the others it is not.
        """
        if self._at == len(self._data):  # a header at a time would copy the packed rest as often
            self._data, self._at = self._more(max(size, PACKED_BYTES)), 0
        self._at += len(found := self._data[self._at : self._at + size])
        return found

    def _more(self, size: int) -> bytes:
        while self._has_more():
            if self._stream is None:
                self._begin()
            if self._stream is not None and (data := self._inflate(self._stream, size)):
                return data
        if self._stream is not None:
            raise GzipError("truncated", "expected the end of its gzip stream, got the end of the file")
        return b""

    def _has_more(self) -> bool:
        self._packed = self._packed or self._read(PACKED_BYTES)
        return bool(self._packed)

    def _begin(self) -> None:
        """Start the next stream, if there is one."""
        if not self._is_first:
            self._packed = self._packed.lstrip(b"\0")
            if self._packed and not BEGIN.startswith(self._packed[:2]):
                found = self._packed[:12]
                raise GzipError("trailing_data", f"expected nothing after its gzip stream, got {found!r}")
        if self._packed:
            self._stream, self._is_first = zlib.decompressobj(wbits=31), False

    def _inflate(self, stream: zlib._Decompress, size: int) -> bytes:
        try:
            data = stream.decompress(self._packed, size)
        except zlib.error as error:
            raise GzipError("damaged", f"expected a whole gzip stream, got {error!s:.120}") from error
        if stream.eof:
            self._stream = None
        self._packed = stream.unused_data or stream.unconsumed_tail
        return data
