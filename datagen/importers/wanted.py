"""Paths that records look for in archives, found by a member's name; columns, as there may be millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datagen.importers.archives import Archive
from datagen.importers.paths import Parts, beginning, spelt, split_path
from datagen.unusable import UnusableError

BATCH = 1 << 14  # paths that are Python's at once
TEXT = pa.large_string()  # others may hold 2 GB at the most
NAMED = pa.schema([("path", TEXT), ("group", pa.int32())])

Group = tuple[str, ...]


class Wanted:
    """Distinct paths, each with the archives that may hold it.

    Attributes:
        paths: as the records have them.
        groups: of archives.
        group_of: [N] the group of each path, by its number.
    """

    def __init__(self, named: Iterable[tuple[Group, str]]) -> None:
        numbers: dict[Group, int] = {}
        table = _distinct(pa.concat_tables([NAMED.empty_table(), *_batches(named, numbers)]))
        self.groups: Sequence[Group] = list(numbers)
        self.paths = table.column("path").combine_chunks()
        self.group_of: npt.NDArray[np.int32] = table.column("group").to_numpy()
        self._hashes, self._rows = _endings(self)

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, row: int) -> str:
        """One of them."""
        return str(self.paths[row])

    def parts(self, row: int) -> Parts:
        """Those of a path, as they are compared."""
        return spelt(split_path(self.path(row)))

    def ending_in(self, parts: Parts) -> list[int]:
        """Rows of the paths that end in these parts."""
        sought = hash(parts)
        first, last = (int(np.searchsorted(self._hashes, sought, side)) for side in ("left", "right"))
        return [row for row in self._rows[first:last].tolist() if self.parts(row)[-len(parts) :] == parts]


def _batches(named: Iterable[tuple[Group, str]], numbers: dict[Group, int]) -> Iterator[pa.Table]:
    rest = iter(named)
    while batch := list(islice(rest, BATCH)):
        groups = [numbers.setdefault(group, len(numbers)) for group, _ in batch]
        yield _distinct(pa.table([[path for _, path in batch], groups], schema=NAMED))


def _distinct(table: pa.Table) -> pa.Table:
    return table.group_by(["path", "group"], use_threads=False).aggregate([])


def _endings(wanted: Wanted) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """(hash, row) of every ending of every path, by the hash: two of one hash are told apart when found."""
    hashes, rows = array("q"), array("I")
    for row in range(len(wanted)):
        parts = wanted.parts(row)
        hashes.extend(hash(parts[start:]) for start in range(len(parts)))
        rows.extend([row] * len(parts))
    found: Any = np.frombuffer(hashes, np.int64) if hashes else np.empty(0, np.int64)
    order = np.argsort(found, kind="stable")
    return found[order], np.array(rows, np.uint32)[order]


class InArchive:
    """Which of the wanted paths a member of one archive is meant by.

    Args:
        wanted: by all records.
        archive: at hand.
        mapping: beginnings of paths that the recipe maps to archives.
    """

    def __init__(self, wanted: Wanted, archive: Archive, mapping: Iterable[str] = ()) -> None:
        self.wanted = wanted
        self._archive = archive
        self._mapping = list(mapping)
        self._may_hold = np.array([archive.name in group for group in wanted.groups], np.bool_)

    def find(self, member: str) -> tuple[list[int], int]:
        """(rows of the paths, how well the member fits them): none where it is not wanted.

        It fits the better the more parts both have, and best where it has no others in front: a folder of the
        publisher's machine may stand there.
        """
        try:
            parts = spelt(split_path(member))
        except UnusableError:
            return [], 0
        for start in (0, *range(1, len(parts) - 1)):
            if rows := [
                row for row in self.wanted.ending_in(parts[start:]) if self._holds(row, len(parts) - start)
            ]:
                return rows, 2 * (len(parts) - start) + (start == 0)
        return [], 0

    def _holds(self, row: int, length: int) -> bool:
        """Whether so long an ending of a path leaves out nothing that lies inside the archive."""
        if not self._may_hold[self.wanted.group_of[row]]:
            return False
        parts = self.wanted.parts(row)
        return len(parts) - length <= beginning(parts, self._archive, self._mapping)
