"""Tar archives of strangers, read front to back: split parts as one stream, hard limits, nothing unpacked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from datagen.importers.foreign_tar import READ_BYTES, Fault, ForeignTarError, Member, exactly, walk
from datagen.importers.gunzip import Gunzip, GzipError
from datagen.importers.source import Source, SourceError
from shards.reason import ReasonError
from shards.tar import MAX_MEMBER_BYTES
from shards.tar_header import PLAIN

FOLDER = b"5"
NO_END = 1 << 62
# Images hardly compress. A stream that grows this much over its file is no archive of images.
MAX_RATIO = 100
SPARE_BYTES = 64 << 20

NAME = re.compile(r"(?P<archive>.+\.(?:tar\.gz|tgz|tar))(?:\.(?P<part>(?!gz)[a-z]{2,4}|[0-9]{2,5}))?")


class ArchiveError(ReasonError, ValueError):
    """An archive that breaks off, is damaged, or goes on after its end.

    Attributes:
        in_doubt: whether what came before is, too: a checksum over all of it is wrong.
    """

    def __init__(self, reason: str, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(reason, message)
        self.in_doubt = in_doubt


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


@dataclass
class Entry:
    """One member while its archive stands at it: read it before the next one is asked for.

    Attributes:
        name: as the archive has it.
        size: in bytes.
        fault: why it cannot be used.
    """

    name: str
    size: int
    fault: Fault | None
    _stream: _Stream

    def read(self) -> bytes:
        """Its bytes."""
        try:
            return exactly(self._stream, self.size)
        except ForeignTarError as error:
            raise self._stream.ended(error) from error


def read_archive(source: Source, archive: Archive) -> Iterator[Entry]:
    """Members in order, folders left out.

    Raises:
        ArchiveError: it breaks off, is damaged or swells beyond all images.
    """
    with closing(_Parts(source, archive.parts)) as parts:
        stream = _Stream(parts, archive, sum(source.sizes[part] for part in archive.parts))
        try:
            for member in walk(stream):
                if member.kind != FOLDER:
                    yield Entry(member.name, member.size, _fault(member), stream)
        except ForeignTarError as error:
            stream.skip(NO_END)  # to the checksum: if that is wrong too, all is in doubt
            raise stream.ended(error) from error


def _fault(member: Member) -> Fault | None:
    if member.kind != PLAIN and member.fault:
        return Fault("link", member.fault.detail)
    if member.size > MAX_MEMBER_BYTES:
        return Fault("too_large", f"expected at most {MAX_MEMBER_BYTES} bytes, got {member.size}")
    return member.fault


class _Parts:
    """An archive's files, read one after the other as one."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source = source
        self._rest = list(reversed(names))
        self._file: Any = None

    def read(self, size: int) -> bytes:
        while self._file is not None or self._rest:
            if self._file is None:
                self._file = self._source.stream(self._rest.pop())
            if data := bytes(self._file.read(size)):
                return data
            self.close()
        return b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Stream:
    """An archive's tar as the walk's input, unpacked, with a limit to how far it may swell."""

    def __init__(self, parts: _Parts, archive: Archive, packed_bytes: int) -> None:
        self._read = parts.read if archive.name.endswith(".tar") else Gunzip(parts.read).read
        self._where = archive.name
        self._limit = MAX_RATIO * packed_bytes + SPARE_BYTES
        self.at = 0

    def read(self, size: int) -> bytes:
        try:
            data = self._read(size)
        except GzipError as error:
            raise self.ended(error, in_doubt=error.reason == "damaged") from error
        self.at += len(data)
        if self.at > self._limit:
            raise ArchiveError(
                "archive_bomb", f"{self._where}: expected at most {MAX_RATIO} times its size, got more"
            )
        return data

    def ended(self, error: ReasonError, *, in_doubt: bool = False) -> ArchiveError:
        """What an error of the tar or of the stream around it means for the archive."""
        reason = "archive_truncated" if error.reason == "truncated" else "archive_damaged"
        return ArchiveError(reason, f"{self._where}: {error}", in_doubt=in_doubt)

    def skip(self, size: int) -> None:
        while size and (data := self.read(min(size, READ_BYTES))):
            size -= len(data)
