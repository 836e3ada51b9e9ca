"""The best of each group, and among all that is kept no more than a share of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranked:
    """Samples as they are taken: group by group, in each the best first.

    Attributes:
        places: of the samples, in that order.
        group: of each, by number, ascending.
        quality: of each its rank among all, the best 0.
        most: how many are taken of each group.
    """

    places: Numbers
    group: Numbers
    quality: Numbers
    most: Numbers

    def taken(self, may_be: Flags) -> Flags:
        """Of those that may be, the first of each group."""
        before: Numbers = np.cumsum(may_be) - may_be
        starts = np.searchsorted(self.group, np.arange(len(self.most)))
        base = np.append(before, 0)[starts]  # a group without samples has no start
        rank = before - base[self.group]
        found: Flags = may_be & (rank < self.most[self.group])
        return found

    def within_share(self, is_kind: Flags, share: float) -> Flags:
        """All but so many of a kind that it is at most `share` of what is taken; the best of it stay.

        One more of the kind never makes its share of what is taken smaller, so halving finds how many.

        >>> ranked = Ranked(np.arange(4), np.zeros(4, np.int64), np.arange(4), np.array([3]))
        >>> ranked.within_share(np.array([True, True, False, False]), 0.4).tolist()
        [True, False, True, True]
        """
        exact = Fraction(str(share))
        of_kind = np.flatnonzero(is_kind)
        of_kind = of_kind[np.argsort(self.quality[of_kind])]
        low, high = 0, len(of_kind)
        while low < high:
            count = (low + high + 1) // 2
            taken = self.taken(_without(is_kind, of_kind[count:]))
            if int((taken & is_kind).sum()) <= exact * int(taken.sum()):
                low = count
            else:
                high = count - 1
        return _without(is_kind, of_kind[low:])


def rank(
    places: Numbers, columns: Sequence[Floats], ties: Sequence[bytes], group: Numbers, most: Numbers
) -> Ranked:
    """Samples ranked by columns, the first one first, higher values before lower ones; then by `ties`.

    Args:
        places: of the samples, which all others follow.
        columns: their values.
        ties: bytes of each that differ.
        group: number of each one's group.
        most: how many are taken of each group.
    """
    keys = [np.array(ties, dtype=bytes), *(-column for column in reversed(columns))]
    quality = np.empty(len(places), np.int64)
    quality[np.lexsort(keys)] = np.arange(len(places))
    order = np.lexsort([quality, group])
    return Ranked(places[order], group[order].astype(np.int64), quality[order], most)


def _without(flags: Flags, places: Numbers) -> Flags:
    """Everything but some."""
    found = np.ones(len(flags), dtype=np.bool_)
    found[places] = False
    return found
