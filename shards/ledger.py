"""The ledger: every paid reply, by the hash of its request, in segments that never change.

A reply is committed before anything is derived from it. Each writer publishes segments of its own, named
by their content; readers merge. Of two replies to one request the one with the lowest hash counts: the same
one for every reader, however segments are merged.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.storage import Storage, StorageError

SCHEMA = pa.schema([("request", pa.binary(32)), ("reply", pa.large_binary()), ("sha256", pa.binary(32))])
FOLDER = "ledger"  # of an output directory
COMPACT_FROM = 64  # segments: a reader opens each one
REFRESHES = 5
MERGE_FROM = 8  # segments of like size that one writer made: it makes one of them
FULL_BYTES = (
    64 << 20
)  # a segment of this size is merged no more: replies may be pictures, and a merge holds all


class LedgerError(ValueError):
    """A segment that cannot be read: *where: expected what, got what; the way out*."""


def request_hash(request: bytes) -> bytes:
    """The address of a reply: sha256 over the canonical request, 32 bytes."""
    return hashlib.sha256(request).digest()


@dataclass
class _Segment:
    """A segment in memory: request hashes sorted as numbers, and where their replies are."""

    where: str
    prefixes: npt.NDArray[np.uint64]
    order: npt.NDArray[np.int64]
    table: Any = field(repr=False)

    def find(self, request: bytes) -> int | None:
        """The row of a request, if it is here."""
        prefix = np.uint64(int.from_bytes(request[:8], "big"))
        place = int(np.searchsorted(self.prefixes, prefix))
        while place < len(self.prefixes) and self.prefixes[place] == prefix:
            row = int(self.order[place])
            if self.table["request"][row].as_py() == request:
                return row
            place += 1
        return None

    def digest(self, row: int) -> bytes:
        """Hash of a row's reply, as it was committed."""
        digest: bytes = self.table["sha256"][row].as_py()
        return digest

    def reply(self, row: int) -> bytes:
        """A row's reply.

        Raises:
            LedgerError: its bytes have changed.
        """
        reply = bytes(self.table["reply"][row].as_py())
        if hashlib.sha256(reply).digest() != self.digest(row):
            raise LedgerError(
                f"{self.where}: expected the reply that was committed, got other bytes; delete the file: "
                "its replies will be asked again"
            )
        return reply


class Ledger:
    """Replies of one ledger folder, read on first use; safe with any number of readers, writers, threads."""

    def __init__(self, storage: Storage) -> None:
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
            table = pa.ipc.open_file(source).read_all()
        except (FileNotFoundError, StorageError) as error:
            raise StorageError(f"{where}: expected a segment, got none") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise LedgerError(
                f"{where}: expected a segment of the ledger, got {error}; delete the file: its replies "
                "will be asked again"
            ) from error
        requests = np.frombuffer(b"".join(table["request"].to_pylist()), dtype=">u8").reshape(-1, 4)
        prefixes = requests[:, 0].astype(np.uint64)
        order = np.argsort(prefixes, kind="stable")
        return _Segment(where, prefixes[order], order, table)

    def get(self, request: bytes) -> bytes | None:
        """The reply to a request hash, or None if it was never paid for."""
        with self._lock:
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
        return sum(int(self._segments[name].table.nbytes) for name in names)


def _merged(segments: Iterable[_Segment]) -> dict[bytes, bytes]:
    merged: dict[bytes, tuple[bytes, bytes]] = {}
    for segment in segments:
        columns = (segment.table[name].to_pylist() for name in ("request", "sha256", "reply"))
        for request, digest, reply in zip(*columns, strict=True):
            merged[request] = min(merged.get(request, (digest, reply)), (digest, reply))
    return {request: reply for request, (_, reply) in merged.items()}


def _write_segment(storage: Storage, replies: Iterable[tuple[bytes, bytes]]) -> str:
    rows = sorted(replies)
    hashes = [hashlib.sha256(reply).digest() for _, reply in rows]
    table = pa.table([[r for r, _ in rows], [p for _, p in rows], hashes], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    name = f"{hashlib.sha256(data).hexdigest()}.arrow"
    storage.write(name, data)
    return name


def missing(ledger: Ledger, requests: Sequence[bytes]) -> list[bytes]:
    """Those request hashes that were never paid for, in order, each once."""
    return [request for request in dict.fromkeys(requests) if ledger.get(request) is None]
