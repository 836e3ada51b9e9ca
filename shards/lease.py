"""One run at a time owns an output directory: a lease file with a heartbeat."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from shards.storage import SCRATCH, Storage, StorageError

FILE = "lease.json"
HEARTBEAT_S = 5.0
STALE_S = 30.0
SETTLE_S = 0.2


class LeaseError(RuntimeError):
    """Another run owns the directory, or took it from us."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lease; `born` tells a process from a later one with the same number."""

    token: str
    host: str
    pid: int
    born: str
    beat_s: float


class Lease:
    """Holds a directory for one run, as a context manager.

    A dead owner on this machine is noticed at once, on another machine when its heartbeat is `STALE_S` old.
    """

    def __init__(self, storage: Storage, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S) -> None:
        self.token = uuid.uuid4().hex
        self._storage = storage
        self._heartbeat_s = heartbeat_s
        self._stale_s = stale_s
        self._ended = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")

    def __enter__(self) -> Lease:
        owner = read_owner(self._storage)
        if owner and is_held(owner, self._stale_s):
            raise LeaseError(
                f"{self._storage.uri}: expected no other run here, got one: process {owner.pid} on "
                f"{owner.host}, last seen {time.time() - owner.beat_s:.0f} s ago; wait for it or stop it"
            )
        self._write()
        time.sleep(SETTLE_S)  # two that come at once both write: the last one's name stays
        self.check()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        owner = read_owner(self._storage)
        if owner and owner.token == self.token:  # another run may have taken it while this one slept
            self._storage.delete(SCRATCH)  # first, while nobody else may write here
            self._storage.delete(FILE)

    def check(self) -> None:
        """Raise if another run has taken the lease: called before a directory is finished.

        Raises:
            LeaseError: the lease is not ours any more.
        """
        owner = read_owner(self._storage)
        if self._lost or owner is None or owner.token != self.token:
            self._lost = True
            holder = f"process {owner.pid} on {owner.host}" if owner else "nobody"
            raise LeaseError(
                f"{self._storage.uri}: expected to own it, got {holder} as its owner; this run stops"
            )

    def check_heard(self) -> None:
        """Raise if the heartbeat has seen that the lease is lost; asks no storage, so it may be called often.

        Raises:
            LeaseError: the lease is not ours any more.
        """
        if self._lost:
            self.check()

    def _write(self) -> None:
        owner = Owner(self.token, socket.gethostname(), os.getpid(), born(os.getpid()), time.time())
        self._storage.write_again(FILE, json.dumps(asdict(owner)).encode())

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            try:
                self.check()
                self._write()
            except LeaseError:
                return  # the driver's own `check` tells why
            except OSError:
                continue  # the store fails for a moment; if it lasts, another run takes over


def read_owner(storage: Storage) -> Owner | None:
    """Who holds the lease, if anybody. A file that is no lease counts as nobody's."""
    try:
        return Owner(**json.loads(storage.read(FILE)))
    except (StorageError, ValueError, TypeError):
        return None


def is_held(owner: Owner, stale_s: float) -> bool:
    """Whether the owner is alive as far as can be told from here."""
    if owner.host == socket.gethostname() and born(owner.pid) != owner.born:
        return False
    return time.time() - owner.beat_s < stale_s


def born(pid: int) -> str:
    """When a process of this machine started, in ticks since boot; "" if there is none, or a dead one."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    is_dead = state in "ZX"  # listed until its parent has asked how it ended
    return "" if is_dead else others[18]
