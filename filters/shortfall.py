"""Exact counts: what a selection keeps of each group against what was wanted, and what would fill the gap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MARGIN = 1.1  # more than the yield asks for: it is an estimate from few samples
GROWTH = 2.0  # where nothing of a group was good there is no yield to go by
WHOLE = "all"  # the one group of a selection that has none


class ShortfallError(ValueError):
    """A selection that must be exact keeps too few; `groups` says which and by how much."""

    def __init__(self, groups: Sequence[Group]) -> None:
        told = "; ".join(group.told for group in groups)
        super().__init__(
            f"select: expected exact counts, got too few good samples: {told}; have more made, or say "
            "`exact: false` to go on with what there is"
        )
        self.groups = tuple(groups)


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of a selection.

    Attributes:
        name: the value of the column that it groups by; "all" without one.
        wanted: samples that are to be kept.
        read: samples that there were.
        good: of those, the ones that pass the rules.
    """

    name: str
    wanted: int
    read: int
    good: int

    @property
    def is_short(self) -> bool:
        """Whether fewer are good than wanted."""
        return self.good < self.wanted

    @property
    def told(self) -> str:
        """For people.

        >>> Group(name="object", wanted=10, read=16, good=8).told
        'object: wanted 10, good 8 of 16 (yield 50.0%)'
        """
        yield_share = f"yield {self.good / self.read:.1%}" if self.read else "none was made"
        return f"{self.name}: wanted {self.wanted}, good {self.good} of {self.read} ({yield_share})"


def count_groups(
    names: Iterable[str | None], is_good: Iterable[bool], wanted: Mapping[str, int] | int
) -> list[Group]:
    """The groups of a selection, by name.

    Args:
        names: each sample's group.
        is_good: whether it passes the rules.
        wanted: of each group, those that are named alone; or as many of each that there is.

    >>> count_groups(["a", "b", "b"], [True, True, False], {"a": 1, "c": 2})[1].told
    'c: wanted 2, good 0 of 0 (none was made)'
    """
    read: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for name, passes in zip(names, is_good, strict=True):
        read[name or WHOLE] += 1
        good[name or WHOLE] += passes
    numbers = wanted if isinstance(wanted, Mapping) else dict.fromkeys(sorted(read) or [WHOLE], wanted)
    return [
        Group(name=name, wanted=number, read=read[name], good=good[name]) for name, number in numbers.items()
    ]


def enough(planned: int, groups: Sequence[Group]) -> int:
    """How many samples to plan so that every group is likely to have what is wanted of it.

    Kinds of samples keep their shares in a longer plan, so the group that is shortest decides.

    >>> enough(20, [Group(name="object", wanted=10, read=16, good=8)])
    28
    >>> enough(20, [Group(name="object", wanted=1, read=2, good=0)])
    40
    """
    short = [group for group in groups if group.is_short]
    factors = [group.wanted / group.good * MARGIN if group.good else GROWTH for group in short]
    return math.ceil(round(planned * max(factors, default=1.0), 6))
