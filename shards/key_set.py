"""Keys that were seen, for plans of millions: eight bytes of a hash each."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

RECENT = 1 << 14


class KeySet:
    """Says of each key whether it came before.

    Of 10 million keys two share a hash with a probability of 3 in a million. A set of Python's takes
    over 100 bytes for each.
    """

    def __init__(self) -> None:
        self._sorted: Any = np.empty(0, np.int64)
        self._size = 0
        self._recent: set[int] = set()

    def add(self, key: str) -> bool:
        """Whether a key is new; it is not the next time.

        >>> keys = KeySet()
        >>> keys.add("a"), keys.add("b"), keys.add("a")
        (True, True, False)
        """
        return self.add_hash(hashlib.blake2b(key.encode(), digest_size=8).digest())

    def add_hash(self, digest: bytes) -> bool:
        """As `add`, of 8 bytes of a key's hash."""
        value = int.from_bytes(digest, "big", signed=True)
        if value in self._recent:
            return False
        place = self._sorted.searchsorted(value)
        if place < self._size and self._sorted[place] == value:
            return False
        self._recent.add(value)
        if len(self._recent) >= max(RECENT, self._size // 8):  # so that each is moved some eight times
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._sorted, self._recent = np.sort(np.concatenate([self._sorted, recent])), set()
            self._size = len(self._sorted)
        return True
