"""Comparisons in one run: rounds of both sides in turn, and the median of their ratios."""

import gc
import statistics
import time

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.bench)


def seconds(call):
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    finally:
        gc.enable()


@pytest.fixture
def compare(capsys):
    """Median of theirs / ours over interleaved rounds, one more before them unmeasured; it is printed."""

    def run(what, ours, theirs, *, rounds=7, size_bytes=0):
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds + 1)][1:]
        ratio = statistics.median(theirs_s / ours_s for ours_s, theirs_s in pairs)
        rates = [statistics.median(column) for column in zip(*pairs, strict=True)]
        shown = " ".join(
            f"{name} {each * 1e3:.1f} ms" + (f" ({size_bytes / each / 1e6:.0f} MB/s)" if size_bytes else "")
            for name, each in zip(("ours", "theirs"), rates, strict=True)
        )
        with capsys.disabled():
            print(f"\n{what}: {ratio:.2f} times theirs; {shown}")
        return ratio

    return run
