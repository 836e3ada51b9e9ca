"""Truth: what rendered samples know of their own faults, and how judge and selection stand against it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.calibrate import Floats, Interval, auc, auc_with_interval, finite, share_with_interval
from filters.decisions import Decisions, short_hash
from filters.distributions import Score
from shards.index import Directory, shard_name
from shards.sample import Json

CLEAN = "none"
OVERALL = "all faults"
INHERITED = "inherited"


@dataclass(frozen=True, kw_only=True)
class Truths:
    """The faults of a directory's samples, as far as they were read.

    Attributes:
        faults: of each sample that knows its truth; `CLEAN` where it has no fault.
        read: samples whose truth was looked up.
        total: samples in the directory.
    """

    faults: Mapping[str, str]
    read: int
    total: int

    @property
    def names(self) -> list[str]:
        """Faults that occur, by name, inherited ones last."""
        found = set(self.faults.values()) - {CLEAN}
        return sorted(found, key=lambda fault: (fault == INHERITED, fault))

    @property
    def own(self) -> list[str]:
        """Faults that were built into these samples themselves."""
        return [fault for fault in self.names if fault != INHERITED]

    def keys(self, faults: Sequence[str]) -> pa.Array:
        """Keys of the samples with one of these faults."""
        return pa.array([key for key, fault in self.faults.items() if fault in faults], pa.string())


def fault_of(truth: Mapping[str, Json]) -> str | None:
    """The fault that a sample's truth names; None where nothing is known of it.

    A fault that came with the parent is `INHERITED`: if the parent was selected, the judge has missed
    it once already, so such samples are hard by choice and say nothing of faults at large.

    >>> [fault_of(truth) for truth in ({"fault": "extra_subject"}, {"fault": "none"}, {"target": []}, {})]
    ['extra_subject', 'none', 'none', None]
    >>> fault_of({"fault": "extra_subject", "inherited": True})
    'inherited'
    """
    if not truth:
        return None
    return INHERITED if truth.get("inherited") else str(truth.get("fault") or CLEAN)


def read_truths(directory: Directory, most: int) -> Truths:
    """The truths of at most `most` samples, those whose keys have the lowest hashes.

    Only the JSON member of each is read, in the order in which they lie.
    """
    keys = [key for shard in directory.shards for key in _keys(directory, shard)]
    chosen = set(keys) if len(keys) <= most else set(heapq.nsmallest(most, keys, key=short_hash))
    faults = {}
    for shard in directory.shards:
        for key, truth in _truths(directory, shard, chosen):
            fault = fault_of(truth)
            if fault is not None:
                faults[key] = fault
    return Truths(faults=faults, read=len(chosen), total=len(keys))


def _keys(directory: Directory, shard: int) -> list[str]:
    with directory.storage.open(f"index/{shard_name(shard)}.parquet") as file:
        return [str(key) for key in pq.read_table(file, columns=["key"]).column("key").to_pylist()]


def _truths(directory: Directory, shard: int, chosen: set[str]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    with directory.storage.open(f"index/{shard_name(shard)}.parquet") as file:
        table = pq.read_table(file, columns=["key", "members"])
    table = table.filter(pc.is_in(table.column("key"), value_set=pa.array(sorted(chosen), pa.string())))
    for row in table.to_pylist():
        (member,) = [member for member in row["members"] if member["name"].endswith(".json")]
        ((_, text),) = directory.read_members(shard, [member])
        yield row["key"], json.loads(text)["provenance"]["truth"]


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How well scores tell the samples of one fault from the clean ones.

    Attributes:
        fault: its name, or `OVERALL`.
        clean, faulty: samples with a readable score.
        areas: area under the ROC curve by score; of the documented one with its interval.
        interval: of the documented score.
    """

    fault: str
    clean: int
    faulty: int
    areas: Mapping[str, float]
    interval: Interval


def separations(
    scores: Mapping[str, Score], truths: Truths, documented: str, inverted: Sequence[str] = ()
) -> list[Separation]:
    """Over all own faults, then fault by fault; none where there is no clean or no faulty sample.

    Args:
        scores: by question.
        truths: of the judged samples.
        documented: the score whose intervals are wanted.
        inverted: scores of which a high value speaks of a fault; they count the other way round.
    """
    rows = {OVERALL: truths.own, **{fault: [fault] for fault in truths.names}}
    found = []
    for name, faults in rows.items():
        sides = {
            question: _sides(score, truths, faults, question in inverted)
            for question, score in scores.items()
        }
        if all(map(len, sides[documented])):
            found.append(_separation(name, sides, documented))
    return found


def _separation(fault: str, sides: Mapping[str, tuple[Floats, Floats]], documented: str) -> Separation:
    clean, faulty = sides[documented]
    return Separation(
        fault=fault,
        clean=len(clean),
        faulty=len(faulty),
        areas={question: auc(*each) for question, each in sides.items() if all(map(len, each))},
        interval=auc_with_interval(clean, faulty),
    )


def _sides(score: Score, truths: Truths, faults: Sequence[str], is_inverted: bool) -> tuple[Floats, Floats]:
    """Readable scores of the clean samples and of the faulty ones, a higher one being better."""
    sign = -1 if is_inverted else 1
    clean, faulty = (score.at(truths.keys(side), is_high=is_inverted) for side in ([CLEAN], faults))
    return sign * finite(clean), sign * finite(faulty)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a selection did with the samples of one fault, or with the clean ones."""

    fault: str
    kept: int
    refused: int

    @property
    def refused_share(self) -> float:
        """Of its samples, the share that was refused."""
        return self.refused / (self.kept + self.refused)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A selection against the truth; a clean sample that is kept is a hit.

    Attributes:
        precision: share of the kept samples that are clean.
        recall: share of the clean samples that are kept.
        outcomes: clean samples first, then fault by fault.
        wrongly_kept, wrongly_refused: keys, the worst mistakes first.
    """

    precision: Interval | None
    recall: Interval | None
    outcomes: tuple[Outcome, ...]
    wrongly_kept: tuple[str, ...]
    wrongly_refused: tuple[str, ...]


def verdict(decided: Decisions, truths: Truths) -> Verdict | None:
    """How a selection stands against the truth; None where nothing is known of its samples."""
    faults = np.array([truths.faults.get(key, "") for key in decided.keys.to_pylist()], dtype=object)
    if not (faults != "").any():
        return None
    is_clean, kept = faults == CLEAN, decided.is_kept & (faults != "")
    hits = int((is_clean & kept).sum())
    return Verdict(
        precision=share_with_interval(hits, int(kept.sum())) if kept.any() else None,
        recall=share_with_interval(hits, int(is_clean.sum())) if is_clean.any() else None,
        outcomes=tuple(
            Outcome(fault=fault, kept=int((found & kept).sum()), refused=int((found & ~kept).sum()))
            for fault in (CLEAN, *truths.names)
            if (found := faults == fault).any()
        ),
        wrongly_kept=_worst(decided, kept & ~is_clean),
        wrongly_refused=_worst(decided, is_clean & ~kept),
    )


def _worst(decided: Decisions, mistakes: Any) -> tuple[str, ...]:  # noqa: ANN401, an array of flags
    """Keys of mistakes, those that were decided with the widest margin first."""
    margins = np.nan_to_num(np.abs(decided.margins), nan=0.0)
    places = sorted(np.flatnonzero(mistakes), key=lambda place: (-margins[place], decided.ties[place]))
    return tuple(str(decided.keys[int(place)].as_py()) for place in places)
