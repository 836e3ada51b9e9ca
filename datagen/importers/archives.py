"""Tar archives of strangers, read front to back: split parts as one stream, hard limits, nothing unpacked."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from datagen.importers.source import Source, SourceError

BLOCK = 512
READ_BYTES = 1 << 20
MAX_NAME_BYTES = 64 << 10
MAX_MEMBER_BYTES = 256 << 20
# Images hardly compress. A stream that grows this much over its file is no archive of images.
MAX_RATIO = 100
SPARE_BYTES = 64 << 20

NAME = re.compile(r"(?P<archive>.+\.(?:tar\.gz|tgz|tar))(?:\.(?P<part>(?!gz)[a-z]{2,4}|[0-9]{2,5}))?")
KINDS = {
    "1": "hard link",
    "2": "symbolic link",
    "3": "device",
    "4": "device",
    "6": "pipe",
    "S": "sparse file",
}


class ArchiveError(ValueError):
    """An archive that breaks off or is damaged: what came before it is whole.

    Attributes:
        reason: a short name to count rejects by.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Archive:
    """A tar, perhaps gzipped, perhaps cut byte-wise into parts."""

    name: str
    parts: tuple[str, ...]

    @property
    def folder(self) -> tuple[str, ...]:
        """The folders it lies in."""
        return tuple(self.name.split("/")[:-1])

    @property
    def stem(self) -> str:
        """Its name without `.tar.gz`."""
        return re.sub(r"\.(tar|tar\.gz|tgz)$", "", self.name.rpartition("/")[2])


def archives_in(names: Iterable[str]) -> dict[str, Archive]:
    """The archives among files, by name, parts joined.

    >>> archives_in(["a.tar.gz.ab", "a.tar.gz.aa", "b.tar", "c.json"])["a.tar.gz"].parts
    ('a.tar.gz.aa', 'a.tar.gz.ab')

    Raises:
        SourceError: a part is missing from the middle.
    """
    parts: dict[str, list[str]] = {}
    for name in sorted(names):
        if found := NAME.fullmatch(name):
            parts.setdefault(found["archive"], []).append(name)
    return {
        archive: Archive(archive, _in_turn(archive, names_of)) for archive, names_of in sorted(parts.items())
    }


def _in_turn(archive: str, names: Sequence[str]) -> tuple[str, ...]:
    """The files that make up an archive, in order. Beside a whole one `.idx` or `.sha` is no part of it."""
    numbered = sorted((_number(name.rpartition(".")[2]), name) for name in names if name != archive)
    has_first = bool(numbered) and (numbered[0][0] == 0 or bool(re.search(r"\.0*1$", numbered[0][1])))
    if archive in names:
        if has_first:
            raise SourceError(f"{archive}: expected it whole or in parts, got both; remove one")
        return (archive,)
    before = f"{archive}: expected parts without a gap from the first"
    if not has_first:
        raise SourceError(f"{before}, got {numbered[0][1]} as the first; fetch the missing ones")
    for (last, _), (number, name) in pairwise(numbered):
        if number != last + 1:
            raise SourceError(f"{before}, got {name} out of turn; fetch the missing ones")
    return tuple(name for _, name in numbered)


def _number(suffix: str) -> int:
    """A part's place; letters count from aa, figures from 0 or 1.

    >>> _number("aa"), _number("bc"), _number("007")
    (0, 28, 7)
    """
    if suffix.isdigit():
        return int(suffix)
    number = 0
    for letter in suffix:
        number = number * 26 + ord(letter) - ord("a")
    return number


class _Joined(io.RawIOBase):
    """Files read one after the other as one."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        super().__init__()
        self._source = source
        self._rest = list(reversed(names))
        self._file: Any = None

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        while self._file is not None or self._rest:
            if self._file is None:
                self._file = self._source.stream(self._rest.pop())
            if data := bytes(self._file.read(size if size >= 0 else READ_BYTES)):
                return data
            self._file.close()
            self._file = None
        return b""


@dataclass
class Entry:
    """One plain member while its archive stands at it: read it before the next one is asked for.

    Attributes:
        name: as the archive has it.
        size: in bytes.
        kind: "" for a plain file, else what it is instead, e.g. "symbolic link".
    """

    name: str
    size: int
    kind: str
    _stream: _Stream

    def read(self) -> bytes:
        """Its bytes."""
        self._stream.left -= self.size
        return self._stream.exactly(self.size)


class _Stream:
    """Bytes of an archive with its limits.

    Attributes:
        left: bytes of the current member that were not read.
    """

    def __init__(self, file: Any, where: str, limit: int) -> None:  # noqa: ANN401, a pyarrow.NativeFile
        self._file = file
        self._limit = limit
        self._read = 0
        self.where = where
        self.left = 0

    def some(self, size: int) -> bytes:
        try:
            data = bytes(self._file.read(size))
        except (OSError, pa.ArrowException) as error:
            raise ArchiveError("archive_damaged", f"{self.where}: at byte {self._read}: {error}") from error
        self._read += len(data)
        if self._read > self._limit:
            raise ArchiveError(
                "archive_bomb", f"{self.where}: expected at most {MAX_RATIO} times its size, got more"
            )
        return data

    def exactly(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            part = self.some(min(missing, READ_BYTES))
            if not part:
                raise ArchiveError(
                    "archive_truncated",
                    f"{self.where}: at byte {self._read}: expected {missing} bytes more, got its end",
                )
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def check_rest(self) -> None:
        """Read to the end: a gzip stream has its checksum there, and what follows would be lost unsaid."""
        while part := self.some(READ_BYTES):
            if part.count(0) != len(part):
                raise ArchiveError(
                    "archive_damaged",
                    f"{self.where}: expected nothing after its end marker, got data; tars that were joined "
                    "must be taken apart",
                )

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.exactly(min(size, READ_BYTES)))


def read_archive(source: Source, archive: Archive) -> Iterator[Entry]:
    """Members in order, folders left out; links and devices are named but have no bytes.

    Raises:
        ArchiveError: it breaks off, is damaged or swells beyond all images.
    """
    packed_bytes = sum(source.sizes[part] for part in archive.parts)
    with _opened(source, archive) as file:
        stream = _Stream(file, archive.name, MAX_RATIO * packed_bytes + SPARE_BYTES)
        yield from _entries(stream)


def _opened(source: Source, archive: Archive) -> Any:  # noqa: ANN401, a pyarrow.NativeFile
    if len(archive.parts) == 1:
        file = source.stream(archive.parts[0])
    else:
        file = pa.PythonFile(_Joined(source, archive.parts), mode="r")
    return file if archive.name.endswith(".tar") else pa.CompressedInputStream(file, "gzip")


def _entries(stream: _Stream) -> Iterator[Entry]:
    long_name = ""
    while True:
        head = stream.exactly(BLOCK)
        if not any(head):
            stream.check_rest()
            return
        size, kind = _size_and_kind(head, stream.where)
        padding = -size % BLOCK
        if kind in "LKxg":
            body = _small(stream, size)
            stream.skip(padding)
            long_name = _name_in(kind, body) or long_name
            continue
        name, long_name = long_name or _name(head), ""
        if kind in ("1", "2", "3", "4", "5", "6"):  # these have no bytes, whatever the header says
            if kind != "5":
                yield Entry(name, 0, KINDS[kind], stream)
            continue
        stream.left = size
        yield Entry(name, size, KINDS.get(kind, ""), stream)
        stream.skip(stream.left + padding)


def _size_and_kind(head: bytes, where: str) -> tuple[int, str]:
    try:
        stored = int(head[148:156].strip(b"\0 "), 8)
        size = _size(head[124:136])
    except ValueError as error:
        raise ArchiveError("archive_damaged", f"{where}: expected a tar header, got {head[:24]!r}") from error
    if sum(head) - sum(head[148:156]) + 8 * 32 != stored:
        raise ArchiveError("archive_damaged", f"{where}: {head[:60]!r}: header checksum is wrong")
    return size, chr(head[156]) if head[156] else "0"


def _size(field: bytes) -> int:
    """Octal, or binary where the first bit is set (GNU, beyond 8 GB)."""
    size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.strip(b"\0 ") or b"0", 8)
    if size < 0:
        raise ValueError(f"a size of {size}")
    return size


def _small(stream: _Stream, size: int) -> bytes:
    if size > MAX_NAME_BYTES:
        raise ArchiveError(
            "archive_damaged",
            f"{stream.where}: expected a name of at most {MAX_NAME_BYTES} bytes, got {size}",
        )
    return stream.exactly(size)


def _name(head: bytes) -> str:
    name = head[:100].partition(b"\0")[0].decode(errors="replace")
    prefix = head[345:500].partition(b"\0")[0].decode(errors="replace")
    return f"{prefix}/{name}" if prefix and head[257:263] == b"ustar\0" else name


def _name_in(kind: str, body: bytes) -> str:
    """The name that a GNU long name or an extended header gives to the next member."""
    if kind == "L":
        return body.partition(b"\0")[0].decode(errors="replace")
    found = re.search(rb"(?:^|\n)\d+ path=([^\n]*)\n", body) if kind == "x" else None
    return found[1].decode(errors="replace") if found else ""
