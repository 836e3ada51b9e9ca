"""The ledger: every paid reply, by the hash of its request, in segments that never change.

A reply is committed before anything is derived from it. Each writer publishes segments of its own, named
by their content; readers merge. Of two replies to one request the one with the lowest hash counts: the same
one for every reader, however segments are merged.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.asking import Asking, AskingAlone
from shards.storage import Storage, StorageError

SCHEMA = pa.schema([("request", pa.binary(32)), ("reply", pa.large_binary()), ("sha256", pa.binary(32))])
FOLDER = "ledger"  # of an output directory
COMPACT_FROM = 64  # segments: a reader opens each one
REFRESHES = 5
MERGE_FROM = 8  # segments of like size that one writer made: it makes one of them
FULL_BYTES = (
    64 << 20
)  # a segment of this size is merged no more: replies may be pictures, and a merge holds all


PICTURE_BYTES = 64 << 10  # replies above it on average stay in an object store until they are asked for
BATCH_BYTES = 2 << 20  # what is fetched for one of those


class LedgerError(ValueError):
    """A segment that cannot be read: *where: expected what, got what; the way out*."""


def request_hash(request: bytes) -> bytes:
    """The address of a reply: sha256 over the canonical request, 32 bytes."""
    return hashlib.sha256(request).digest()


@dataclass
class _Segment:
    """A segment: request hashes sorted as numbers, and its replies, or where they are.

    Attributes:
        storage: the ledger's folder.
        name: of the file.
        size_bytes: of the file.
        prefixes: the first 8 bytes of each request hash, sorted.
        order: which row each of them is.
        heads: request and sha256 of each row, a chunk for each batch of the file.
        replies: the column; None where each is fetched when it is asked for.
    """

    storage: Storage
    name: str
    size_bytes: int
    prefixes: npt.NDArray[np.uint64]
    order: npt.NDArray[np.int64]
    heads: Any = field(repr=False)
    replies: Any = field(repr=False)

    @property
    def where(self) -> str:
        """For messages."""
        return self.storage.path(self.name)

    def find(self, request: bytes) -> int | None:
        """The row of a request, if it is here."""
        prefix = np.uint64(int.from_bytes(request[:8], "big"))
        place = int(np.searchsorted(self.prefixes, prefix))
        while place < len(self.prefixes) and self.prefixes[place] == prefix:
            row = int(self.order[place])
            if self.heads["request"][row].as_py() == request:
                return row
            place += 1
        return None

    def digest(self, row: int) -> bytes:
        """Hash of a row's reply, as it was committed."""
        digest: bytes = self.heads["sha256"][row].as_py()
        return digest

    def reply(self, row: int) -> bytes:
        """A row's reply.

        Raises:
            LedgerError: its bytes have changed.
            StorageError: it is on an object store and went, as its writer merged it.
        """
        reply = bytes((self._fetched(row) if self.replies is None else self.replies[row]).as_py())
        if hashlib.sha256(reply).digest() != self.digest(row):
            raise LedgerError(
                f"{self.where}: expected the reply that was committed, got other bytes; delete the file: "
                "its replies will be asked again"
            )
        return reply

    def _fetched(self, row: int) -> Any:  # noqa: ANN401, a pyarrow.LargeBinaryScalar
        for number, batch in enumerate(self.heads["request"].chunks):
            if row < len(batch):
                with self.storage.open(self.name) as source:
                    return _reader(source, "reply").get_batch(number)["reply"][row]
            row -= len(batch)
        raise IndexError(row)

    def rows(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """(request, sha256, reply) of each row."""
        replies = self.replies
        if replies is None:
            with self.storage.open(self.name) as source:
                replies = _reader(source, "reply").read_all()["reply"]
        heads = (self.heads[name].to_pylist() for name in ("request", "sha256"))
        yield from zip(*heads, replies.to_pylist(), strict=True)


def _reader(source: Any, *columns: str) -> Any:  # noqa: ANN401, pyarrow's, untyped
    """Some columns of a segment; of an object, the others' bytes are not fetched."""
    fields = [SCHEMA.get_field_index(name) for name in columns]
    return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))


class Ledger:
    """Replies of one ledger folder, read on first use; safe with any number of readers, writers, threads.

    Attributes:
        asking: what is asked at this moment, of all that write to the folder.
    """

    def __init__(self, storage: Storage, asking: Asking | None = None) -> None:
        self.asking: Asking = asking or AskingAlone()
        self._storage = storage
        self._opened: dict[str, _Segment] | None = None
        self._own: list[tuple[str, int]] = []  # name and replies of what this writer published
        self._lock = threading.RLock()

    def refresh(self) -> None:
        """Take in the segments that came since; forget those that were compacted away."""
        with self._lock:
            for _ in range(REFRESHES):
                with suppress(StorageError):  # a writer merged its segments in between: look again
                    self._opened = self._read_all(self._opened or {})
                    return
            self._opened = self._read_all(self._opened or {})

    def _read_all(self, old: Mapping[str, _Segment]) -> dict[str, _Segment]:
        names = [name for name in self._storage.names() if name.endswith(".arrow")]
        return {name: old.get(name) or self._open(name) for name in names}

    @property
    def _segments(self) -> dict[str, _Segment]:
        if self._opened is None:
            self.refresh()
        return self._opened or {}

    def _open(self, name: str) -> _Segment:
        where = self._storage.path(name)
        try:
            source = pa.memory_map(where) if self._storage.is_local else self._storage.open(name)
            heads = _reader(source, "request", "sha256").read_all()
            is_far = not self._storage.is_local and source.size() > PICTURE_BYTES * len(heads)
            replies = None if is_far else _reader(source, "reply").read_all()["reply"]
        except (FileNotFoundError, StorageError) as error:
            raise StorageError(f"{where}: expected a segment, got none") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise LedgerError(
                f"{where}: expected a segment of the ledger, got {error}; delete the file: its replies "
                "will be asked again"
            ) from error
        requests = np.frombuffer(b"".join(heads["request"].to_pylist()), dtype=">u8").reshape(-1, 4)
        prefixes = requests[:, 0].astype(np.uint64)
        order = np.argsort(prefixes, kind="stable")
        return _Segment(self._storage, name, source.size(), prefixes[order], order, heads, replies)

    def get(self, request: bytes) -> bytes | None:
        """The reply to a request hash, or None if it was never paid for."""
        with self._lock:
            for _ in range(REFRESHES):
                with suppress(StorageError):
                    return self._get(request)
                self.refresh()  # its writer merged the segment that holds it: look again
            return self._get(request)

    def _get(self, request: bytes) -> bytes | None:
        held = self._segments.values()
        found = [(segment, row) for segment in held if (row := segment.find(request)) is not None]
        if not found:
            return None
        segment, row = min(found, key=lambda each: each[0].digest(each[1]))
        return segment.reply(row)

    def commit(self, replies: Mapping[bytes, bytes]) -> None:
        """Publish replies as one new segment, durably; then they are there for every reader."""
        if not replies:
            return
        with self._lock:
            segments = self._segments
            name = _write_segment(self._storage, replies.items())
            segments[name] = self._open(name)
            self._opened = segments
            self._own.append((name, len(replies)))
            self._merge_own()

    def _merge_own(self) -> None:
        """Keep this writer's segments few, by making one of the last ones where they are of like size.

        Each reply is written again once for every factor of `MERGE_FROM`: three times in 16,000 replies.
        """
        self._own = [own for own in self._own if own[0] in self._segments]  # another may have merged them
        while len(last := self._own[-MERGE_FROM:]) == MERGE_FROM:
            sizes = [size for _, size in last]
            names = [name for name, _ in last]
            if max(sizes) >= MERGE_FROM * min(sizes) or self._bytes(names) > FULL_BYTES:
                return
            name = self._merge(names)
            del self._own[-MERGE_FROM:]
            self._own.append((name, len(self._segments[name].order)))

    def _merge(self, names: Sequence[str]) -> str:
        """One segment in the place of some. It is there before they go, so no reader misses a reply."""
        segments = self._segments
        merged = _merged(segments[name] for name in names)
        new = _write_segment(self._storage, merged.items())
        segments[new] = self._open(new)
        for name in names:
            if name != new:
                del segments[name]
                self._storage.delete(name)
        return new

    def __len__(self) -> int:
        return sum(len(segment.order) for segment in self._segments.values())

    def compact(self, *, minimum: int = COMPACT_FROM) -> int:
        """Merge many small segments into few; return how many went. Only for who holds the lease."""
        with self._lock:
            old = [name for name in sorted(self._segments) if self._bytes([name]) <= FULL_BYTES // 2]
            if len(old) < minimum:
                return 0
            group: list[str] = []
            for name in [*old, ""]:
                if not name or self._bytes([*group, name]) > FULL_BYTES:
                    self._merge(group)
                    group = []
                group.append(name)
            return len(old)

    def _bytes(self, names: Sequence[str]) -> int:
        return sum(self._segments[name].size_bytes for name in names)


def _merged(segments: Iterable[_Segment]) -> dict[bytes, bytes]:
    merged: dict[bytes, tuple[bytes, bytes]] = {}
    for segment in segments:
        for request, digest, reply in segment.rows():
            merged[request] = min(merged.get(request, (digest, reply)), (digest, reply))
    return {request: reply for request, (_, reply) in merged.items()}


def _write_segment(storage: Storage, replies: Iterable[tuple[bytes, bytes]]) -> str:
    rows = sorted(replies)
    hashes = [hashlib.sha256(reply).digest() for _, reply in rows]
    table = pa.table([[r for r, _ in rows], [p for _, p in rows], hashes], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(table, max(1, BATCH_BYTES * len(rows) // max(table.nbytes, 1)))
    data = sink.getvalue().to_pybytes()
    name = f"{hashlib.sha256(data).hexdigest()}.arrow"
    storage.write(name, data)
    return name


def missing(ledger: Ledger, requests: Sequence[bytes]) -> list[bytes]:
    """Those request hashes that were never paid for, in order, each once."""
    return [request for request in dict.fromkeys(requests) if ledger.get(request) is None]
