"""Decisions: a selection with its policy and the scores it read, and which samples are worth a look."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.distributions import Histogram, Rule, Score, histogram, load_scores
from filters.lineage import Lineage
from filters.scored import BETWEEN, read_samples
from shards.driver_step import Input
from shards.selection import read_selection
from shards.tables import questions

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Samples that a selection counts together.

    Attributes:
        names: their values of the columns that it groups by.
        most: how many are kept at most.
        kept, read: how many were, of how many.
    """

    names: Sequence[str]
    most: int
    kept: int
    read: int


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a selection decided, and from what.

    Attributes:
        name: of its directory.
        label: of its step.
        policy: its settings.
        keys: of the samples, in order.
        is_kept: of each sample.
        reasons: of each sample, "" where it is kept.
        scores: that the policy reads, then the others that its judges gave.
        groups: that it counts by, in order of their names; none where it counts all together.
    """

    name: str
    label: str
    policy: Mapping[str, Any]
    keys: pa.Array
    is_kept: Flags
    reasons: npt.NDArray[np.object_]
    scores: Mapping[str, Score]
    groups: Sequence[Group] = ()

    @property
    def kept(self) -> int:
        """Samples kept."""
        return int(self.is_kept.sum())

    @cached_property
    def ties(self) -> list[bytes]:
        """A hash of each key: an order that depends on nothing else."""
        return [short_hash(key) for key in self.keys.to_pylist()]

    def rules(self, name: str) -> list[Rule]:
        """The bounds that the policy sets on a score."""
        found = []
        if name in self._least:
            found.append(Rule(value=self._least[name], words=f"at least {self._least[name]:g}"))
        if name in self._most:
            found.append(Rule(value=self._most[name], words=f"at most {self._most[name]:g}"))
        if self._cut is not None and name == self._cut[0]:
            found.append(Rule(value=self._cut[1], words=f"best {self.policy['best']:,}: {self._cut[1]:.4g}"))
        return found

    def bounds(self, name: str) -> tuple[float | None, float | None]:
        """The least and the largest value of a score that the policy keeps."""
        return self._least.get(name), self._most.get(name)

    @property
    def words(self) -> list[str]:
        """The policy in words, a rule each."""
        lines = [f"{name} at least {value:g}" for name, value in self._least.items()]
        lines += [f"{name} at most {value:g}" for name, value in self._most.items()]
        shares: Mapping[str, float] = self.policy.get("max_share") or {}
        lines += [f"{name} in at most {share:g} of the kept" for name, share in shares.items()]
        if self.policy.get("best"):
            lines.append(f"the best {self._best_words} by {', then '.join(self.policy['order'])}")
        return lines

    @property
    def _best_words(self) -> str:
        best, columns = self.policy["best"], " and ".join(self.columns)
        if isinstance(best, Mapping):
            return f"{sum(best.values()):,} in {len(best)} groups of {columns}"
        return f"{best:,} of each {columns}" if columns else f"{best:,}"

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the index that it groups by."""
        return _columns(self.policy)

    def is_bounded_above(self, name: str) -> bool:
        """Whether the policy counts a high value of this score as a fault."""
        return name in self._most

    def histograms(self) -> list[Histogram]:
        """Of every score the kept and the refused samples, rules drawn in."""
        parts = {"kept": self.keys.filter(pa.array(self.is_kept))}
        parts["refused"] = self.keys.filter(pa.array(~self.is_kept))
        return [
            histogram(score, parts, self.rules(name), is_high=self.is_bounded_above(name))
            for name, score in self.scores.items()
        ]

    @cached_property
    def margins(self) -> Floats:
        """How far each sample is inside the nearest bound, in spans of its score; below 0 outside.

        NaN where no rule can be applied: an unreadable sample is on no border.
        """
        columns = list(self._margins())
        if not columns:
            return np.full(len(self.keys), np.nan)
        margins: Floats = np.min(np.stack(columns), axis=0)
        return margins

    def _margins(self) -> Iterator[Floats]:
        for name, value in self._least.items():
            yield (self._values(name) - value) / self._width(name)
        for name, value in self._most.items():
            yield (value - self._values(name)) / self._width(name)
        if self._cut is not None:
            name, value = self._cut
            yield (self._values(name) - value) / self._width(name)

    def _values(self, name: str) -> Floats:
        return self.scores[name].at(self.keys, is_high=self.is_bounded_above(name))

    def _width(self, name: str) -> float:
        low, high = self.scores[name].span
        return high - low

    @property
    def _least(self) -> Mapping[str, float]:
        return self.policy.get("min_scores") or {}

    @property
    def _most(self) -> Mapping[str, float]:
        return self.policy.get("max_scores") or {}

    @cached_property
    def _cut(self) -> tuple[str, float] | None:
        """Where `best` cut, as (score, least value kept); None where there is no one such place."""
        is_beyond = np.char.startswith(self.reasons.astype(str), "not among the best")
        if self.policy.get("by") or not (is_beyond.any() and self.kept):
            return None
        name = self.policy["order"][0]
        return name, float(np.nanmin(self._values(name)[self.is_kept]))

    # Which samples to look at: the same ones for the same selection

    def look_at_kept(self, count: int) -> list[str]:
        """Kept samples, drawn by a hash of their keys: neither the best nor the first."""
        return self._by_hash(np.flatnonzero(self.is_kept), count)

    def look_at_refused(self, count: int) -> list[str]:
        """Refused samples, one of each reason in turn, the most frequent reason first."""
        reasons, counts = np.unique(self.reasons[~self.is_kept].astype(str), return_counts=True)
        ordered = [reasons[place] for place in np.lexsort([reasons, -counts])]
        groups = [self._by_hash(np.flatnonzero(self.reasons == reason), count) for reason in ordered]
        turns = chain.from_iterable(zip_longest(*groups))
        return [key for key in turns if key is not None][:count]

    def look_at_borderline(self, count: int) -> list[str]:
        """Samples nearest to a bound, from both sides in turn."""
        kept, refused = self._nearest(self.is_kept, count), self._nearest(~self.is_kept, count)
        turns = chain.from_iterable(zip_longest(kept, refused))
        return [key for key in turns if key is not None][:count]

    def _nearest(self, mask: Flags, count: int) -> list[str]:
        places = np.flatnonzero(mask & np.isfinite(self.margins))
        order = heapq.nsmallest(count, places, key=lambda p: (abs(self.margins[p]), self.ties[p]))
        return [str(key) for key in self.keys.take(pa.array(order, pa.int64())).to_pylist()]

    def _by_hash(self, places: Sequence[int] | npt.NDArray[np.int64], count: int) -> list[str]:
        order = heapq.nsmallest(count, places, key=lambda place: self.ties[place])
        return [str(key) for key in self.keys.take(pa.array(order, pa.int64())).to_pylist()]


def short_hash(key: str) -> bytes:
    """A sample's place in an order that depends on its key alone."""
    return hashlib.blake2b(key.encode(), digest_size=8).digest()


def decisions(lineage: Lineage, name: str) -> Decisions:
    """What a selection decided, with every score of the directories it read.

    Raises:
        SelectError: a score that its policy names is in none of them.
    """
    step = lineage.steps[name]
    policy = step.manifest.config.get("settings")
    policy = policy if isinstance(policy, Mapping) else {}
    table = read_selection(step.storage)
    tables = [lineage.steps[parent].storage for parent in lineage.parents(name, "scores")]
    held = Counter(question for storage in tables for question in questions(storage))
    asked = [question for question, count in held.items() if count == 1]  # of two there is no one answer
    keys, is_kept = table.column("key").combine_chunks(), table.column("keep").to_numpy()
    read = [
        name
        for part in ("min_scores", "max_scores", "max_share", "order")
        for name in _names(policy.get(part))
    ]
    return Decisions(
        name=name,
        label=lineage.labels[name],
        policy=policy,
        keys=keys,
        is_kept=is_kept,
        reasons=np.array(table.column("reason").to_pylist(), dtype=object),
        scores=load_scores(tables, list(dict.fromkeys([*read, *asked]))),
        groups=_groups(lineage.steps[lineage.parents(name, "input")[0]], policy, keys.filter(is_kept)),
    )


def _groups(of: Input, policy: Mapping[str, Any], kept: pa.Array) -> list[Group]:
    """The groups of a policy and of the samples that it was applied to.

    Args:
        of: the samples, or the selection of them.
        policy: settings of the selection.
        kept: keys that it keeps.
    """
    columns, best = _columns(policy), policy.get("best")
    if not columns:
        return []
    samples = read_samples(of, columns)
    read = Counter(name or "" for name in samples.groups.to_pylist())
    are_kept = samples.groups.filter(pc.is_in(samples.keys, value_set=kept))
    counted = Counter(name or "" for name in are_kept.to_pylist())
    most: Mapping[str, int] = best if isinstance(best, Mapping) else dict.fromkeys(read, best or 0)
    return [
        Group(names=name.split(BETWEEN), most=most.get(name, 0), kept=counted[name], read=read[name])
        for name in sorted({*most, *read})
    ]


def _columns(policy: Mapping[str, Any]) -> Sequence[str]:
    columns = policy.get("by") or ()
    return (columns,) if isinstance(columns, str) else columns


def _names(part: object) -> list[str]:
    """Scores that a part of a policy names."""
    return list(part) if isinstance(part, Mapping | list) else []
