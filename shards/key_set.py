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
        self._recent: set[int] = set()

    def add(self, key: str) -> bool:
        """Whether a key is new; it is not the next time.

        >>> keys = KeySet()
        >>> keys.add("a"), keys.add("b"), keys.add("a")
        (True, True, False)
        """
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        value = int.from_bytes(digest, "big", signed=True)
        place = int(np.searchsorted(self._sorted, value))
        if value in self._recent or (place < len(self._sorted) and int(self._sorted[place]) == value):
            return False
        self._recent.add(value)
        if len(self._recent) >= max(RECENT, len(self._sorted) // 8):  # so that each is moved some eight times
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._sorted, self._recent = np.sort(np.concatenate([self._sorted, recent])), set()
        return True
