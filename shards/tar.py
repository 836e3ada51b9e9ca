"""WebDataset tars: written byte for byte the same each time, read without trusting them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from shards import tar_header
from shards.checksum import checksum
from shards.reason import ReasonError
from shards.sample import EXTENSIONS, check_key
from shards.tar_header import BLOCK, PLAIN

END = bytes(2 * BLOCK)
MAX_MEMBER_BYTES = 256 << 20
MEMBER_NAMES = 100  # bytes of a ustar name
FLUSH_BYTES = 1 << 20
IOV_MAX = 512  # Linux allows 1024 buffers in one writev
PART = re.compile(r"[a-z0-9_-]+")


class TarError(ReasonError, ValueError):
    """A tar that cannot be read as a shard: *where: expected what, got what*."""


class Member(NamedTuple):
    """One file in a tar.

    Attributes:
        name: `KEY.json`, `KEY.ref0.jpg`, ..., `KEY.target.jpg`.
        offset: of its first byte in the tar.
        size: its bytes.
        sha256: of its bytes: what they are.
        checksum: of its bytes: whether they still are.
    """

    name: str
    offset: int
    size: int
    sha256: bytes
    checksum: bytes

    @property
    def key(self) -> str:
        """The sample's key: all before the first dot."""
        return self.name.partition(".")[0]

    @property
    def part(self) -> str:
        """`json`, `ref0`, ..., `target`."""
        return self.name.split(".")[1]

    @property
    def extension(self) -> str:
        """`json`, `jpg`, `png`, ..."""
        return self.name.rpartition(".")[2]


def _template() -> bytes:
    header = bytearray(BLOCK)
    header[100:124] = b"0000444\0" + b"0000000\0" + b"0000000\0"
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    return bytes(header)


TEMPLATE = _template()
TEMPLATE_SUM = sum(TEMPLATE)


def header(name: str, size: int) -> bytes:
    """The ustar header of a regular file: mode 444, owner 0, time 0."""
    encoded = name.encode()
    octal = b"%011o" % size
    checksum = TEMPLATE_SUM + sum(encoded) + sum(octal)
    return b"".join(
        (
            encoded,
            TEMPLATE[len(encoded) : 124],
            octal,
            TEMPLATE[135:148],
            b"%06o\0 " % checksum,
            TEMPLATE[156:],
        )
    )


class ShardDigest:
    """A hash over a shard's headers and the hashes of its members: one pass over the pixels serves both.

    Two tars with the same digest are the same bytes.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, head: bytes, sha256: bytes) -> None:
        """Take in the next member."""
        self._hash.update(head + sha256)

    def hex(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()


class TarWriter:
    """Writes a shard; `members` and `digest` are there once it is closed.

    Measured against Python's tarfile, see tests/benchmarks: a header from a template and one writev a
    megabyte pay for the hashes.

    Args:
        path: of the shard.
        flushed: told after each write of the path, and where in the file it began and ended.
    """

    def __init__(self, path: Path, flushed: Callable[[Path, int, int], None] | None = None) -> None:
        self.members: list[Member] = []
        self._path, self._flushed = path, flushed
        self._file = path.open("xb", buffering=0)
        self._digest = ShardDigest()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._offset = 0

    def add(self, name: str, data: bytes, sha256: bytes | None = None) -> Member:
        """Append one member; `sha256` where it is known already.

        Raises:
            TarError: the name would not survive a WebDataset reader, or the member is too large.
        """
        check_member(name, len(data))
        head = header(name, len(data))
        sha256 = sha256 or hashlib.sha256(data).digest()
        member = Member(name, self._offset + BLOCK, len(data), sha256, checksum(data))
        self._digest.add(head, member.sha256)
        self._push(head, data, bytes(-len(data) % BLOCK))
        self.members.append(member)
        return member

    def _push(self, *parts: bytes) -> None:
        self._pending.extend(part for part in parts if part)
        size = sum(map(len, parts))
        self._offset += size
        self._pending_bytes += size
        if self._pending_bytes >= FLUSH_BYTES or len(self._pending) >= IOV_MAX:
            self._flush()

    def _flush(self) -> None:
        start = self._offset - self._pending_bytes
        rest, self._pending, self._pending_bytes = self._pending, [], 0
        while rest:
            written = os.writev(self._file.fileno(), rest[:IOV_MAX])
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = rest[0][written:]
        if self._flushed:
            self._flushed(self._path, start, self._offset)

    @property
    def digest(self) -> str:
        """The shard's digest over what was added."""
        return self._digest.hex()

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._push(END)
            self._flush()
        self._file.close()


def check_member(name: str, size: int) -> None:
    """Refuse a member that a reader would lose, merge or choke on.

    >>> check_member("base-1.ref0.jpg", 10)
    >>> check_member("base-1.pickle", 10)
    Traceback (most recent call last):
    ...
    shards.tar.TarError: base-1.pickle: expected KEY.json or KEY.NAME.EXT with EXT one of jpg, jpeg, png, webp

    Raises:
        TarError: saying which rule.
    """
    parts = name.split(".")
    is_json = len(parts) == 2 and parts[1] == "json"
    is_image = len(parts) == 3 and parts[2] in EXTENSIONS and PART.fullmatch(parts[1])
    if not is_json and not is_image:
        raise TarError(
            "member_type",
            f"{name[:120]}: expected KEY.json or KEY.NAME.EXT with EXT one of {', '.join(EXTENSIONS)}",
        )
    try:
        check_key(parts[0])
    except ValueError as error:
        raise TarError("bad_key", f"{name[:120]}: {error}") from error
    if len(name.encode()) > MEMBER_NAMES:
        raise TarError("bad_key", f"{name[:120]}: expected a name of at most {MEMBER_NAMES} bytes")
    if size > MAX_MEMBER_BYTES:
        raise TarError("member_size", f"{name}: expected at most {MAX_MEMBER_BYTES} bytes, got {size}")


def read_headers(file: Any, where: str, size: int) -> Iterator[tuple[bytes, str, int, int]]:  # noqa: ANN401
    """(header, name, offset, size) of each member, seeking over the contents.

    Args:
        file: with `seek` and `read`.
        where: for errors.
        size: of the whole tar in bytes.

    Raises:
        TarError: at the first thing that is not a plain file of a shard; what came before it is whole.
    """
    offset = 0
    while True:
        file.seek(offset)
        head = bytes(file.read(BLOCK))
        if head == END[:BLOCK]:
            check_end(file, where)
            return
        name, length = parse_header(head, f"{where}: at byte {offset}")
        padded = length + -length % BLOCK
        if offset + BLOCK + padded > size:
            raise TarError(
                "truncated", f"{where}: {name}: expected {length} bytes, got {size - offset - BLOCK}"
            )
        yield head, name, offset + BLOCK, length
        offset += BLOCK + padded


def check_padding(padding: bytes, where: str) -> None:
    """Raise if what fills a member up to a whole block is not all zero: no hash covers it."""
    if padding.count(0) != len(padding):
        raise TarError("trailing_data", f"{where}: expected zeros after it, got other bytes")


def check_end(file: Any, where: str) -> None:  # noqa: ANN401
    """Raise unless one more block of zeros follows the first, and nothing but zeros to the end."""
    if len(rest := bytes(file.read(BLOCK))) < BLOCK:
        raise TarError("truncated", f"{where}: expected {2 * BLOCK} zeros at its end, got fewer")
    while rest:
        check_padding(rest, f"{where}: after its last member")
        rest = bytes(file.read(FLUSH_BYTES))


def parse_header(head: bytes, where: str) -> tuple[str, int]:
    """(name, size) of a plain file.

    Raises:
        TarError: a damaged header, or a member that is no plain file (link, device, sparse, long name).
    """
    name, length = _own(head) or _foreign(head, where)
    check_member(name, length)
    return name, length


def _own(head: bytes) -> tuple[str, int] | None:
    """(name, size) of a header as `header` writes it, known by its bytes: summing up takes twice as long."""
    try:
        name, length = head[:MEMBER_NAMES].rstrip(b"\0").decode(), int(head[124:135], 8)
    except ValueError:
        return None
    return (name, length) if length >= 0 and head == header(name, length) else None


def _foreign(head: bytes, where: str) -> tuple[str, int]:
    """(name, size) of a plain file's header of another hand."""
    if len(head) < BLOCK:
        raise TarError("truncated", f"{where}: expected a header of {BLOCK} bytes, got {len(head)}")
    try:
        found = tar_header.parse_header(head)
        name = found.name.decode()
    except ValueError as error:
        raise TarError(
            "bad_header", f"{where}: expected a tar header, got {head[:24]!r} ({error!s:.120})"
        ) from error
    if found.kind != PLAIN or head[124] >= 0x80:  # binary sizes are for files beyond any member
        raise TarError("member_type", f"{where}: {name[:60]!r}: expected a plain file, got {found.what}")
    return name, found.size


def read_tar(path: Path) -> Iterator[tuple[Member, bytes]]:
    """Members of a local shard in order, with their bytes, hashed while they are in the processor's cache.

    One thread: SHA-256 is what costs, and two threads on the two halves of a core bring no more of it.

    Raises:
        TarError: the tar is damaged or holds anything but plain JSON and images; what came before is whole.
    """
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        for name, offset, size in _scan(file, str(path)):
            data = os.pread(descriptor, size, offset)
            if len(data) < size:
                raise TarError("truncated", f"{path}: {name}: expected {size} bytes, got {len(data)}")
            yield Member(name, offset, size, hashlib.sha256(data).digest(), checksum(data)), data


_Place = tuple[str, int, int]  # name, offset, size


def _scan(file: Any, where: str) -> Iterator[_Place]:  # noqa: ANN401
    """Where the members lie: each header is read with what fills up the member before it."""
    descriptor = file.fileno()
    size, offset, filling, name = os.fstat(descriptor).st_size, 0, 0, ""
    while True:
        block = os.pread(descriptor, filling + BLOCK, offset - filling)
        check_padding(block[:filling], f"{where}: {name}")
        head = block[filling:]
        if head == END[:BLOCK]:
            break
        name, length = parse_header(head, f"{where}: at byte {offset}")
        filling = -length % BLOCK
        if offset + BLOCK + length + filling > size:
            raise TarError(
                "truncated", f"{where}: {name}: expected {length} bytes, got {size - offset - BLOCK}"
            )
        yield name, offset + BLOCK, length
        offset += BLOCK + length + filling
    file.seek(offset + BLOCK)
    check_end(file, where)
