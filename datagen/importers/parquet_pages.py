"""How much memory a row group asks for, by the headers of its pages, before anything in it is unpacked.

A page may declare 2 GB, and a dictionary's value may be meant a million times over in a few bytes.
Source: Parquet format, `parquet.thrift`, and Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from datagen.importers.archives import MAX_RATIO, SPARE_BYTES
from datagen.unusable import UnusableError

BATCH_BYTES = 256 << 20  # of rows read at once
HEADER_BYTES = (8 << 10, 1 << 20)  # read at first, and at the most: statistics may stand in it
# Of pages smaller than the first those that lie together are read at once: each read of an object store takes
# as long as a megabyte does.
SMALL_BYTES, TOGETHER_BYTES = 256 << 10, 1 << 20
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
IN_DICTIONARY = (2, 8)  # encodings of data that a dictionary explains
RLE = 3
DEPTH = 8
MORE = "where the file is to be trusted, set `max_page_bytes`"
NO_MORE = "nothing honest packs so well: leave the file out with `files`, or write it anew"
MAX_VALUES = 4 << 20  # of a page of lists; writers end one after some 20,000


def rows_at_once(parquet: Any, file: Any, group: int, columns: Sequence[str], limit: int, most: int) -> int:  # noqa: ANN401, pyarrow's
    """How many rows of a group may be read at once, up to `most`.

    Args:
        parquet: the pyarrow.parquet.ParquetFile.
        file: the same, to be read at any place.
        group: the row group's number.
        columns: that will be read.
        limit: bytes of a page, and of the values that one row takes from a dictionary.
        most: rows.

    Raises:
        UnusableError: a page is larger than that, or than pictures and texts can be packed.
        ValueError: a page's header is none.
    """
    about = parquet.metadata.row_group(group)
    largest = 1
    for number in range(about.num_columns):
        column = about.column(number)
        if column.path_in_schema.partition(".")[0] in columns:
            levels = parquet.schema.column(number).max_repetition_level
            largest = max(largest, _Chunk(file, column, levels, limit).row_bytes())
    return max(min(BATCH_BYTES // largest, most), 1)


@dataclass(frozen=True)
class _Page:
    kind: int
    start: int  # of its contents in the file
    packed: int
    size: int
    about: dict[int, Any]


class _Chunk:
    """The pages of one column in one row group."""

    def __init__(self, file: Any, column: Any, levels: int, limit: int) -> None:  # noqa: ANN401, pyarrow's
        self._file = file
        self._column = column
        self._levels = levels
        self._limit = limit
        self._start = column.data_page_offset
        if column.has_dictionary_page and 0 < column.dictionary_page_offset < self._start:
            self._start = column.dictionary_page_offset
        self._end = self._start + column.total_compressed_size
        self._held, self._held_at = b"", 0  # bytes of the file, and the place of the first

    def row_bytes(self) -> int:
        """Bytes that a row may take, at the most, beyond what is usual for so large a column; or 0."""
        dictionary, size, run, longest, most = None, 0, 0, 1, 0
        usual = SPARE_BYTES + MAX_RATIO * self._column.total_compressed_size
        for page in self._pages():
            size += page.size
            most = max(most, page.size)
            self._check(page.size, self._limit, "a page")
            # Texts may repeat themselves in pages of a usual size, and one of those is unpacked at a time.
            is_text_perhaps = not self._levels and most <= SPARE_BYTES
            self._check(size, max(usual, self._limit) if is_text_perhaps else usual, "pages")
            if page.kind == DICTIONARY:
                dictionary = page
            elif self._levels and page.about[2 if page.kind == DATA else 4] in IN_DICTIONARY:
                run, longest = _longest(self._repetitions(page), run, longest)
        most = most if size > usual else 0
        if dictionary is None:
            return most
        found = longest * dictionary.size
        if self._levels and found > self._limit:  # not every value is as large as all of them
            found = longest * _largest_value(self._unpacked(dictionary))
            self._check(found, self._limit, "a row's values")
        return max(found, most)

    def _check(self, got: int, most: int, what: str) -> None:
        if got > most:
            raise UnusableError(
                "file_bomb",
                f"{self._column.path_in_schema}: expected {what} of at most {most}, got {got} in "
                f"{self._column.total_compressed_size} bytes; {MORE if most == self._limit else NO_MORE}",
            )

    def _pages(self) -> Iterator[_Page]:
        at = self._start
        while at < self._end:
            fields, length = self._header(at)
            about: dict[int, Any] = next((fields[n] for n in (5, 7, 8) if n in fields), {})
            page = _Page(fields[1], at + length, fields[3], fields[2], about)
            if page.packed < 0 or page.size < 0:
                raise ValueError(f"expected a page's size, got {page.packed} and {page.size}")
            yield page
            at = page.start + page.packed
            if page.packed < SMALL_BYTES and not self._holds(at, HEADER_BYTES[0]):
                self._held, self._held_at = self._read(at, TOGETHER_BYTES), at

    def _header(self, at: int) -> tuple[dict[int, Any], int]:
        for size in HEADER_BYTES:
            thrift = _Thrift(self._read(at, size))
            try:
                return thrift.struct(), thrift.at
            except IndexError:
                continue
        raise ValueError(f"expected a page's header at byte {at}, got none")

    def _read(self, at: int, size: int) -> bytes:
        """Bytes of this column, fewer at its end."""
        if self._holds(at, size):
            return self._held[at - self._held_at :][:size]
        return bytes(self._file.read_at(max(min(size, self._end - at), 0), at))

    def _holds(self, at: int, size: int) -> bool:
        return self._held_at <= at and min(at + size, self._end) <= self._held_at + len(self._held)

    def _unpacked(self, page: _Page) -> bytes:
        packed = self._read(page.start, page.packed)
        name = self._column.compression.lower()
        if name == "uncompressed":
            return packed
        codec = pa.Codec({"lz4": "lz4_raw"}.get(name, name))
        return bytes(codec.decompress(packed, decompressed_size=page.size))

    def _repetitions(self, page: _Page) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[N] bool: whether a value stands in the same row as the one before."""
        self._check(page.about[1], MAX_VALUES, "a page of values")
        if page.kind == DATA_V2:
            data = self._read(page.start, page.about[6])
        else:
            if page.about[4] != RLE:
                raise ValueError(f"expected repetition levels in RLE, got encoding {page.about[4]}")
            data = self._unpacked(page)
            data = data[4 : 4 + int.from_bytes(data[:4], "little")]
        return _unrolled(data, self._levels.bit_length(), page.about[1])


def _unrolled(data: bytes, width: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each of so many levels in Parquet's RLE and bit packing is above 0.

    >>> _unrolled(bytes([3, 0b1101, 6, 1]), 1, 9).tolist()
    [True, False, True, True, False, False, False, False, True]
    """
    thrift, missing = _Thrift(data), count
    found: list[Any] = [np.empty(0, np.bool_)]
    while missing > 0:
        head = thrift.varint()
        if head & 1:
            bits = np.frombuffer(thrift.take((head >> 1) * width), np.uint8)
            unpacked: Any = np.unpackbits(bits, bitorder="little").reshape(-1, width)
            part: Any = unpacked.any(axis=1)[:missing]
        else:
            is_above = any(thrift.take((width + 7) // 8))
            part = np.full(min(head >> 1, missing), is_above)
        if not len(part):
            raise ValueError("expected levels, got an empty run")
        found.append(part)
        missing -= len(part)
    return np.concatenate(found)


def _longest(is_same: np.ndarray[Any, np.dtype[np.bool_]], run: int, longest: int) -> tuple[int, int]:
    """(values of the row that is open at the end, values of the longest row), `run` being open before."""
    starts = np.flatnonzero(~is_same)
    edges = np.concatenate([[-run], starts, [len(is_same)]])
    lengths = np.diff(edges)
    return int(lengths[-1]), max(longest, int(lengths.max()))


def _largest_value(dictionary: bytes) -> int:
    """The longest of values that stand one after the other, each behind its length."""
    at, longest = 0, 0
    while at + 4 <= len(dictionary):
        length = int.from_bytes(dictionary[at : at + 4], "little")
        longest, at = max(longest, length), at + 4 + length
    return longest


class _Thrift:
    """Reads a struct: numbers and structs by their field's number; all else is passed over.

    IndexError says that there are not enough bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self._data):
            raise IndexError
        self.at += count
        return self._data[self.at - count : self.at]

    def varint(self) -> int:
        value, shift = 0, 0
        while shift < 64:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("expected a number, got more than 64 bits")

    def struct(self, depth: int = 0) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while head := self.take(1)[0]:
            field = field + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            found[field] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return found

    def _number(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401, as it comes
        if kind in (4, 5, 6):
            return self._number()
        if kind == 12 and depth < DEPTH:
            return self.struct(depth + 1)
        if kind in (9, 10):
            head = self.take(1)[0]
            for _ in range(self.varint() if head >> 4 == 15 else head >> 4):
                self._value(head & 15, depth)
            return None
        if kind not in (1, 2, 3, 7, 8):
            raise ValueError(f"expected a field's type, got {kind}")
        self.take({7: 8}.get(kind, 1) if kind != 8 else self.varint())
        return None
