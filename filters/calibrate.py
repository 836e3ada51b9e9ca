"""How well a score or a selection tells clean samples from faulty ones, with intervals; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.int64]
Place: TypeAlias = tuple[str, int, int]  # key, reference, candidate

RESAMPLES = 1000
SEED = 0
CELLS = 1 << 18  # of counts or drawn places held at once: 2 MB, which stays in the cache
NORMAL_95 = 1.959964


class CalibrateError(ValueError):
    """Scores that nothing can be measured on: *expected what, got what*."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value with its 95 % interval, and on how many samples or cases it was measured."""

    value: float
    low: float
    high: float
    n: int


def auc(clean: npt.ArrayLike, faulty: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a clean sample scores above a faulty one, ties counting half.

    The same number as scikit-learn's `roc_auc_score` (tested), whose import takes longer than a whole report.

    >>> round(auc([0.9, 0.8, 0.4], [0.1, 0.5]), 3)
    0.833

    Raises:
        CalibrateError: a side is empty.
    """
    above, below, distinct = _places(clean, faulty)
    ups, downs = (np.bincount(side, minlength=distinct)[None] for side in (above, below))
    return float(_areas(ups, downs)[0])


def auc_with_interval(clean: npt.ArrayLike, faulty: npt.ArrayLike, resamples: int = RESAMPLES) -> Interval:
    """`auc` with the 2.5 and 97.5 percentile over resamples, drawn from clean and faulty apart.

    The same scores give the same interval.

    Raises:
        CalibrateError: a side is empty.
    """
    found = np.concatenate(list(_resampled(*_places(clean, faulty), resamples)))
    low, high = np.percentile(found, [2.5, 97.5])
    n = np.size(clean) + np.size(faulty)
    return Interval(value=auc(clean, faulty), low=float(low), high=float(high), n=n)


def _places(clean: npt.ArrayLike, faulty: npt.ArrayLike) -> tuple[Counts, Counts, int]:
    """Each score's rank among the distinct ones, of clean and of faulty samples; how many there are."""
    above, below = np.asarray(clean, np.float64), np.asarray(faulty, np.float64)
    if not (len(above) and len(below)):
        raise CalibrateError(
            f"auc: expected scores of clean and of faulty samples, got {len(above)} and {len(below)}"
        )
    values, places = np.unique(np.concatenate([above, below]), return_inverse=True)
    return places[: len(above)], places[len(above) :], len(values)


def _areas(ups: Counts, downs: Counts) -> Floats:
    """AUC of each row of counts by distinct score, [rows, distinct]: running sums in place of a sort."""
    won = (ups * (downs.cumsum(axis=1) - 0.5 * downs)).sum(axis=1)
    areas: Floats = won / (ups.sum(axis=1) * downs.sum(axis=1))
    return areas


def _resampled(above: Counts, below: Counts, distinct: int, resamples: int) -> Iterator[Floats]:
    """AUC of each resample, a batch at a time."""
    random = np.random.default_rng(SEED)
    batch = max(1, CELLS // distinct)
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        yield _areas(_drawn(random, above, distinct, size), _drawn(random, below, distinct, size))


def _drawn(random: np.random.Generator, places: Counts, distinct: int, size: int) -> Counts:
    """Counts by distinct score of `size` resamples, [size, distinct]; what is drawn is held in parts."""
    counts = np.empty((size, distinct), np.int64)
    part = max(1, CELLS // len(places))
    for start in range(0, size, part):
        number = min(part, size - start)
        chosen = places[random.integers(0, len(places), (number, len(places)), dtype=np.int32)]
        rows = chosen + distinct * np.arange(number)[:, None]
        found = np.bincount(rows.ravel(), minlength=number * distinct)
        counts[start : start + number] = found.reshape(number, distinct)
    return counts


def share_with_interval(count: int, n: int) -> Interval:
    """`count` of `n` with Wilson's interval, which holds for small `n` and shares near 0 and 1.

    >>> found = share_with_interval(8, 10)
    >>> found.value, round(found.low, 2), round(found.high, 2)
    (0.8, 0.49, 0.94)

    Raises:
        CalibrateError: `n` is not positive.
    """
    if n <= 0:
        raise CalibrateError(f"share: expected at least one sample, got {n!r}")
    share, square = count / n, NORMAL_95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = NORMAL_95 * np.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(value=share, low=max(0.0, float(middle - half)), high=min(1.0, float(middle + half)), n=n)


def finite(values: Floats) -> Floats:
    """Those of `values` that are numbers: an unreadable reply has none, and is never a low score."""
    found: Floats = values[np.isfinite(values)]
    return found
