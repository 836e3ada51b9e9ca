"""How each check stands against right answers: of what it refuses and of what is faulty, which share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from filters.calibrate import RESAMPLES, SEED, Interval, Place

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

LEAST = 0.5  # a check refuses below it, as the policy `verified` does
WANTED_PRECISION = 0.95


@dataclass(frozen=True, kw_only=True)
class CheckMeasure:
    """A check against right answers, sample by sample: a sample fails with its worst reference.

    Attributes:
        check: its name.
        n: samples that have a right answer and a readable one.
        faulty: of those, how many should be refused.
        refused: how many are.
        unread: samples whose answer could not be read; they are in no figure.
        precision: of the refused, the share that is faulty; None where none is refused.
        recall: of the faulty, the share that is refused; None where none is faulty.
        recall_at_95: the recall at the threshold that finds most while its precision is 0.95 or more.
        found: by fault, how many of its samples were refused, and how many there are.
    """

    check: str
    n: int
    faulty: int
    refused: int
    unread: int
    precision: Interval | None
    recall: Interval | None
    recall_at_95: float | None
    found: Mapping[str, tuple[int, int]]


def measure_check(
    check: str,
    rows: Iterable[Mapping[str, Any]],
    right: Mapping[Place, float],
    faults: Mapping[str, str],
) -> CheckMeasure | None:
    """Measure one check; None where no sample has a right answer.

    Args:
        check: its name.
        rows: of its table.
        right: 1 or 0 at each place that has a right answer.
        faults: of each sample, by key.
    """
    said, wanted, unread = _by_sample(rows, right)
    if not said:
        return None
    keys = list(said)
    values = np.array([said[key] for key in keys])
    is_faulty = np.array([wanted[key] < 1 for key in keys])
    is_refused = values < LEAST
    precision, recall = precision_and_recall(is_refused, is_faulty)
    return CheckMeasure(
        check=check,
        n=len(keys),
        faulty=int(is_faulty.sum()),
        refused=int(is_refused.sum()),
        unread=unread,
        precision=precision,
        recall=recall,
        recall_at_95=best_recall(values, is_faulty, WANTED_PRECISION),
        found=_by_fault([faults.get(key, "") for key in keys], is_refused, is_faulty),
    )


def _by_sample(
    rows: Iterable[Mapping[str, Any]], right: Mapping[Place, float]
) -> tuple[dict[str, float], dict[str, float], int]:
    """The least said and the least wanted of each sample all of whose rows have a right answer."""
    said: dict[str, float] = {}
    wanted: dict[str, float] = {}
    unread, untold = set(), set()
    for row in rows:
        key = row["key"]
        value = right.get((key, row["reference"], row["candidate"]))
        if value is None:
            untold.add(key)
        elif row["status"] != "ok":
            unread.add(key)
        else:
            said[key] = min(row["expected"], said.get(key, 1.0))
            wanted[key] = min(value, wanted.get(key, 1.0))
    left_out = unread | untold
    kept = {key: value for key, value in said.items() if key not in left_out}
    return kept, wanted, len(unread - untold)


def precision_and_recall(is_refused: Flags, is_faulty: Flags) -> tuple[Interval | None, Interval | None]:
    """Both with their 2.5 and 97.5 percentile over resamples of the samples.

    Resampling samples is drawing their four counts, a thousand at once.

    >>> refused, faulty = np.array([True, True, False, False]), np.array([True, False, False, False])
    >>> [found.value for found in precision_and_recall(refused, faulty)]
    [0.5, 1.0]
    """
    hits, wrong, missed = (
        int(found.sum())
        for found in (is_refused & is_faulty, is_refused & ~is_faulty, ~is_refused & is_faulty)
    )
    counts = np.array([hits, wrong, missed, len(is_refused) - hits - wrong - missed], dtype=np.float64)
    drawn = np.random.default_rng(SEED).multinomial(len(is_refused), counts / counts.sum(), RESAMPLES)
    return _share(hits, wrong, drawn[:, 0], drawn[:, 1]), _share(hits, missed, drawn[:, 0], drawn[:, 2])


def _share(
    hits: int, others: int, drawn_hits: npt.NDArray[np.int64], drawn_others: npt.NDArray[np.int64]
) -> Interval | None:
    n = hits + others
    if not n:
        return None
    some = drawn_hits + drawn_others > 0
    low, high = np.percentile(drawn_hits[some] / (drawn_hits + drawn_others)[some], [2.5, 97.5])
    return Interval(value=hits / n, low=float(low), high=float(high), n=n)


def best_recall(values: Floats, is_faulty: Flags, precision: float) -> float | None:
    """The share of faulty samples below the highest threshold that refuses with at least `precision`.

    >>> best_recall(np.array([0.1, 0.2, 0.6, 0.9]), np.array([True, True, False, True]), 0.95)
    0.6666666666666666
    """
    if not is_faulty.any():
        return None
    order = np.argsort(values, kind="stable")
    hits, refused = np.cumsum(is_faulty[order]), np.arange(1, len(values) + 1)
    is_last = np.append(values[order][1:] != values[order][:-1], True)  # equal values go together
    good = hits[is_last & (hits / refused >= precision)]
    return float(good.max(initial=0) / is_faulty.sum())


def _by_fault(faults: Sequence[str], is_refused: Flags, is_faulty: Flags) -> dict[str, tuple[int, int]]:
    """Of each fault that the check should find, the samples refused and all."""
    all_of, refused = Counter[str](), Counter[str]()
    for fault, is_one, is_found in zip(faults, is_faulty, is_refused, strict=True):
        if is_one and fault:
            all_of[fault] += 1
            refused[fault] += bool(is_found)
    return {fault: (refused[fault], count) for fault, count in sorted(all_of.items())}
