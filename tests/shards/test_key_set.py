"""A set of keys knows all that came before, in some bytes each."""

import tracemalloc

from shards import key_set
from shards.key_set import KeySet


def test_each_key_is_new_once_however_many_came_between(monkeypatch):
    monkeypatch.setattr(key_set, "RECENT", 16)
    keys, seen = KeySet(), set()
    for number in range(5000):
        key = f"key-{number * number % 3001}"
        assert keys.add(key) is (key not in seen)
        seen.add(key)


def test_a_key_takes_some_bytes():
    tracemalloc.start()
    try:
        keys = KeySet()
        for number in range(100_000):
            keys.add(str(number))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3_500_000
