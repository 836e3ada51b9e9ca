"""How the released BAGEL and Scone loader divides row groups among workers, and a layout that loses none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from datagen.exporters.kept import ExportError

GROUPS_A_FILE = 10  # at the least: of fewer, the loader's two floors lose too many, facts/data.md 1.7


@dataclass(frozen=True)
class Layout:
    """Rows of each row group of each file."""

    files: Sequence[Sequence[int]]

    @property
    def groups(self) -> list[int]:
        """Rows of every row group, in the order the loader lists them."""
        return [rows for file in self.files for rows in file]


def layout(rows: int, rows_a_file: int, gpus: int, workers: int) -> Layout:
    """A layout of which every worker of the released loader reads its share, and none is left over.

    >>> found = layout(1000, 500, 2, 3)
    >>> len(found.groups), {len(file) for file in found.files}, sum(found.groups)
    (24, {12}, 1000)

    Raises:
        ExportError: there are fewer rows than the row groups it takes.
    """
    readers = gpus * workers
    files = max(round(rows / rows_a_file), 1)
    groups = -(-files * GROUPS_A_FILE // readers) * readers
    if rows < groups:
        raise ExportError(
            f"scone-parquet: expected at least {groups} samples for {gpus} GPUs x {workers} workers, "
            f"got {rows}; say --gpus or --workers lower, and train with the same"
        )
    sizes = _even(rows, groups)
    counts = _even(groups, files)
    starts = [0, *accumulate(counts)]
    return Layout([sizes[start : start + count] for start, count in zip(starts, counts, strict=False)])


def _even(whole: int, parts: int) -> list[int]:
    """Parts that differ by one at most, the larger ones spread out: so do the workers' shares."""
    return [whole * (part + 1) // parts - whole * part // parts for part in range(parts)]


def rows_by_worker(groups: Sequence[int], gpus: int, workers: int) -> list[int]:
    """Rows that each worker of the released loader would see: two floors, one after the other.

    >>> rows_by_worker([100] * 22, 8, 3)[:3], sum(rows_by_worker([50] * 44, 8, 3))
    ([0, 0, 0], 1200)

    Source: facts/data.md 1.7 (3).
    """
    a_gpu = len(groups) // gpus
    a_worker = a_gpu // workers
    found = []
    for gpu in range(gpus):
        for worker in range(workers):
            start = gpu * a_gpu + worker * a_worker
            found.append(sum(groups[start : start + a_worker]))
    return found
