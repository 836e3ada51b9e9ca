"""Who asks what at this moment: of workers that want the same reply one asks, the others find it paid."""

from __future__ import annotations

import threading
from collections.abc import Collection, Set
from typing import Protocol


class Asking(Protocol):
    """One worker's side of what all workers of a run are asking."""

    def take_on(self, addresses: Set[bytes]) -> set[bytes]:
        """Those that nobody asks; they are this worker's until it lets them go. None where others have all.

        A reply may have been committed since the ledger was last read: read it again, then ask.
        """
        ...

    def let_go(self, addresses: Set[bytes]) -> None:
        """Have others ask, or find, what was taken on."""
        ...


class AskingTable:
    """What all workers are asking; the driver of a run has the one that counts. From any thread."""

    def __init__(self) -> None:
        self._owners: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def take_on(self, owner: str, addresses: Collection[bytes]) -> set[bytes]:
        """Those of the addresses that nobody was asking, the owner included; now it does.

        >>> table = AskingTable()
        >>> sorted(table.take_on("one", {b"a", b"b"})), sorted(table.take_on("two", {b"b", b"c"}))
        ([b'a', b'b'], [b'c'])
        """
        with self._lock:
            free = {address for address in addresses if address not in self._owners}
            self._owners.update(dict.fromkeys(free, owner))
            return free

    def let_go(self, owner: str, addresses: Collection[bytes]) -> None:
        """What the owner took on and asks no more."""
        with self._lock:
            for address in addresses:
                if self._owners.get(address) == owner:
                    del self._owners[address]

    def forget(self, owner: str) -> None:
        """A worker that died asks nothing more."""
        with self._lock:
            self._owners = {address: who for address, who in self._owners.items() if who != owner}


class AskingAlone:
    """For a process that no worker works beside: its threads share a table of its own."""

    def __init__(self) -> None:
        self._table = AskingTable()

    def take_on(self, addresses: Set[bytes]) -> set[bytes]:
        """As `Asking`."""
        return self._table.take_on("", addresses)

    def let_go(self, addresses: Set[bytes]) -> None:
        """As `Asking`."""
        self._table.let_go("", addresses)
