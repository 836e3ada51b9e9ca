"""How well a score or a selection tells clean samples from faulty ones, with intervals; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

Floats: TypeAlias = npt.NDArray[np.float64]

RESAMPLES = 1000
SEED = 0
CELLS = 4_000_000  # of resampled counts held at once: 32 MB
NORMAL_95 = 1.959964


class CalibrateError(ValueError):
    """Scores that nothing can be measured on: *expected what, got what*."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured share with its 95 % interval, and on how many samples it was measured."""

    value: float
    low: float
    high: float
    n: int


def auc_with_interval(clean: npt.ArrayLike, faulty: npt.ArrayLike, resamples: int = RESAMPLES) -> Interval:
    """Area under the ROC curve: how often a clean sample scores above a faulty one, ties counting half.

    The interval is the 2.5 and 97.5 percentile over resamples, drawn from clean and faulty apart. The same
    scores give the same interval.

    >>> auc_with_interval([0.9, 0.8, 0.4], [0.1, 0.5]).value
    0.8333333333333334

    Raises:
        CalibrateError: a side is empty.
    """
    above, below = np.asarray(clean, np.float64), np.asarray(faulty, np.float64)
    if not (len(above) and len(below)):
        raise CalibrateError(
            f"auc: expected scores of clean and of faulty samples, got {len(above)} and {len(below)}"
        )
    is_clean = np.repeat([1, 0], [len(above), len(below)])
    value = float(roc_auc_score(is_clean, np.concatenate([above, below])))
    found = np.concatenate(list(_resampled(above, below, resamples)))
    low, high = np.percentile(found, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high), n=len(is_clean))


def _resampled(above: Floats, below: Floats, resamples: int) -> Iterator[Floats]:
    """AUC of each resample, a batch at a time.

    A resample is a count for each distinct score; the area follows from running sums of counts, 200 times as
    fast as a sort for each (1,000 resamples of 5,000 scores: 0.25 s).
    """
    values, places = np.unique(np.concatenate([above, below]), return_inverse=True)
    ups = np.bincount(places[: len(above)], minlength=len(values))
    downs = np.bincount(places[len(above) :], minlength=len(values))
    random = np.random.default_rng(SEED)
    batch = max(1, CELLS // len(values))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        up = random.multinomial(len(above), ups / len(above), size=size)
        down = random.multinomial(len(below), downs / len(below), size=size)
        won = (up * (down.cumsum(axis=1) - 0.5 * down)).sum(axis=1)
        yield won / (len(above) * len(below))


def share_with_interval(count: int, n: int) -> Interval:
    """`count` of `n` with Wilson's interval, which holds for small `n` and shares near 0 and 1.

    >>> share_with_interval(8, 10)
    Interval(value=0.8, low=0.490..., high=0.943..., n=10)

    Raises:
        CalibrateError: `n` is not positive.
    """
    if n <= 0:
        raise CalibrateError(f"share: expected at least one sample, got {n!r}")
    share, square = count / n, NORMAL_95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = NORMAL_95 * np.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(value=share, low=max(0.0, float(middle - half)), high=min(1.0, float(middle + half)), n=n)


def finite(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Those of `values` that are numbers: an unreadable reply has none, and is never a low score."""
    return values[np.isfinite(values)]
