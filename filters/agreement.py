"""How a judge agrees with right answers, those of rendered truth or of people."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from filters.calibrate import RESAMPLES, SEED, CalibrateError, Interval, Place, auc_with_interval
from filters.judge import WHOLE
from filters.rubrics import Question

Floats: TypeAlias = npt.NDArray[np.float64]

BINS = 10


@dataclass(frozen=True)
class Confusion:
    """What a threshold on the expected value keeps: right and wrong, of good and of bad ones."""

    threshold: float
    good_kept: int
    bad_kept: int
    good_rejected: int
    bad_rejected: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A question's answers against right ones. Good is what the right answer puts at the top of the scale.

    Attributes:
        question: its id.
        n: answers that have a right one.
        good: of those, how many are good.
        unread: answers that could not be read; they are in no figure.
        auc: how often a good one scores above a bad one; None where one kind is missing.
        kappa: Cohen's, of the mode with the right answer; weighted by the square where the scale has grades.
        calibration_error: expected, of the top label's probability, in ten bins.
        confusions: at each threshold between the ends of the scale.
    """

    question: str
    n: int
    good: int
    unread: int
    auc: Interval | None
    kappa: Interval | None
    calibration_error: Interval
    confusions: tuple[Confusion, ...]


@dataclass(frozen=True, kw_only=True)
class Retest:
    """The same questions asked twice.

    Attributes:
        n: answers that could be read both times.
        same_mode: share with the same mode.
        mean_difference, largest_difference: of the expected value, on the question's scale.
    """

    n: int
    same_mode: float
    mean_difference: float
    largest_difference: float


def agreement(
    question: Question, rows: Iterable[Mapping[str, Any]], right: Mapping[Place, float]
) -> Agreement:
    """Measure one question.

    Args:
        question: that was asked.
        rows: of its table.
        right: the value of the right label at each place that has one.

    Raises:
        CalibrateError: no row has a right answer.
    """
    judged = [row for row in rows if _place(row) in right]
    read = [row for row in judged if row["status"] == "ok"]
    if not read:
        raise CalibrateError(
            f"{question.id}: expected answers with a right one beside them, got {len(judged)} to "
            f"{len(right)} right ones and none that can be read; label samples that the step judged"
        )
    truth = np.array([right[_place(row)] for row in read])
    expected = np.array([row["expected"] for row in read])
    mode = np.array([row["mode"] for row in read])
    scale = sorted(question.labels.values())
    top = list(question.labels.values()).index(scale[-1])
    sure = np.array([row["probabilities"][top] for row in read])
    is_good = truth == scale[-1]
    return Agreement(
        question=question.id,
        n=len(read),
        good=int(is_good.sum()),
        unread=len(judged) - len(read),
        auc=auc_with_interval(expected[is_good], expected[~is_good])
        if 0 < is_good.sum() < len(read)
        else None,
        kappa=kappa_with_interval(truth, mode, scale),
        calibration_error=_bootstrap(expected_calibration_error, sure, is_good.astype(np.float64)),
        confusions=tuple(confusions(expected, is_good, thresholds(scale))),
    )


def kappa(truth: Floats, mode: Floats, scale: Sequence[float]) -> float:
    """Cohen's kappa; 1 is full agreement, 0 what chance gives, NaN where there is nothing to tell apart.

    >>> kappa(np.array([0., 1, 1, 0]), np.array([0., 1, 0, 0]), [0, 1])
    0.5
    """
    if len(np.unique(np.concatenate([truth, mode]))) < 2:
        return float("nan")
    places = [np.searchsorted(scale, values) for values in (truth, mode)]
    weights = "quadratic" if len(scale) > 2 else None
    return float(cohen_kappa_score(*places, labels=range(len(scale)), weights=weights))


def kappa_with_interval(truth: Floats, mode: Floats, scale: Sequence[float]) -> Interval | None:
    """Kappa with its 2.5 and 97.5 percentile over resamples of the pairs; None where it is NaN.

    Resampling pairs is drawing confusion matrices, a thousand at once: 300 times as fast as a call for each.
    """
    value = kappa(truth, mode, scale)
    if np.isnan(value):
        return None
    counts = confusion_matrix(*(np.searchsorted(scale, v) for v in (truth, mode)), labels=range(len(scale)))
    random = np.random.default_rng(SEED)
    drawn = random.multinomial(len(truth), counts.ravel() / len(truth), RESAMPLES)
    low, high = np.nanpercentile(_kappas(drawn.reshape(-1, *counts.shape)), [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high), n=len(truth))


def _kappas(counts: npt.NDArray[np.int64]) -> Floats:
    """Kappa of each confusion matrix, [matrices, truth, mode]."""
    place = np.arange(counts.shape[1])
    apart = np.abs(place[:, None] - place).astype(np.float64)
    weights = apart**2 if len(place) > 2 else apart
    by_chance = counts.sum(2)[:, :, None] * counts.sum(1)[:, None, :] / counts.sum((1, 2))[:, None, None]
    chance = (weights * by_chance).sum((1, 2))
    found: Floats = 1 - (weights * counts).sum((1, 2)) / np.where(chance > 0, chance, np.nan)
    return found


def expected_calibration_error(sure: Floats, is_good: Floats) -> float:
    """The mean distance of what was said from what was so, over ten bins of what was said.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.

    >>> round(expected_calibration_error(np.array([0.9, 0.9]), np.array([1., 0.])), 3)
    0.4
    """
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    said = np.bincount(places, weights=sure, minlength=BINS)
    was = np.bincount(places, weights=is_good, minlength=BINS)
    return float(np.abs(said - was).sum() / counts.sum())


def thresholds(scale: Sequence[float]) -> list[float]:
    """Each grade between the ends of a scale, and half-way between neighbours: an expected value is at an end
    only where the judge has no doubt at all.

    >>> thresholds([0, 1]), thresholds([0, 1, 2])
    ([0.5], [0.5, 1, 1.5])
    """
    return sorted([*scale[1:-1], *((low + high) / 2 for low, high in pairwise(scale))])


def confusions(
    expected: Floats, is_good: npt.NDArray[np.bool_], thresholds: Iterable[float]
) -> Iterable[Confusion]:
    """What each threshold would keep.

    >>> list(confusions(np.array([1., 3, 4]), np.array([False, True, True]), [2]))
    [Confusion(threshold=2, good_kept=2, bad_kept=0, good_rejected=0, bad_rejected=1)]
    """
    for threshold in thresholds:
        found = confusion_matrix(is_good, expected >= threshold, labels=[True, False])
        (good_kept, good_rejected), (bad_kept, bad_rejected) = found.tolist()
        yield Confusion(threshold, good_kept, bad_kept, good_rejected, bad_rejected)


def retest(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]) -> Retest:
    """Compare the answers of two askings, by place.

    Raises:
        CalibrateError: no answer could be read both times.
    """
    again = {_place(row): row for row in second if row["status"] == "ok"}
    pairs = [(row, again[_place(row)]) for row in first if row["status"] == "ok" and _place(row) in again]
    if not pairs:
        raise CalibrateError(
            "retest: expected answers that could be read both times, got none; run without --again"
        )
    off = np.array([abs(one["expected"] - two["expected"]) for one, two in pairs])
    return Retest(
        n=len(pairs),
        same_mode=float(np.mean([one["mode"] == two["mode"] for one, two in pairs])),
        mean_difference=float(off.mean()),
        largest_difference=float(off.max()),
    )


def read_labels(path: Path, questions: Mapping[str, Question]) -> dict[str, dict[Place, float]]:
    """People's labels, as values, by question and place.

    Args:
        path: a CSV of key, question, label, and, for one of several references or candidates, reference and
            candidate, from 0.
        questions: by id.

    Raises:
        CalibrateError: naming the line; two lines that differ about one place, too.
    """
    found: dict[str, dict[Place, float]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark before the text
            rows = csv.DictReader(file)
            for row in rows:
                where = f"{path}: line {rows.line_num}"
                question, place, value = _read_label(row, questions, where)
                known = found.setdefault(question, {}).setdefault(place, value)
                if known != value:
                    raise CalibrateError(
                        f"{where}: {question}: expected the label that an earlier line gives "
                        f"{place[0]!r}, got {row['label']!r}; keep one of them"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibrateError(f"{path}: expected a CSV of key,question,label in UTF-8, got {error}") from error
    return found


def _read_label(
    row: Mapping[str, Any], questions: Mapping[str, Question], where: str
) -> tuple[str, Place, float]:
    question = questions.get(row.get("question") or "")
    if question is None or not row.get("key"):
        asked = f"key,question,label with a question of {', '.join(questions)}"
        raise CalibrateError(f"{where}: expected {asked}, got {dict(row)!r:.120}")
    label = (row.get("label") or "").strip()
    if label not in question.labels:
        known = ", ".join(question.labels)
        raise CalibrateError(f"{where}: {question.id}: expected a label of {known}, got {label!r}")
    try:
        place = int(row.get("reference") or WHOLE), int(row.get("candidate") or WHOLE)
    except ValueError as error:
        raise CalibrateError(f"{where}: expected reference and candidate as numbers: {error}") from error
    if (place[0] >= 0, place[1] >= 0) != (question.scope != "sample", question.scope == "candidate"):
        wanted = {
            "sample": "no reference and no candidate",
            "reference": "a reference, from 0, and no candidate",
            "candidate": "a reference and a candidate, from 0",
        }[question.scope]
        raise CalibrateError(f"{where}: {question.id}: expected {wanted}, got {place[0]} and {place[1]}")
    return question.id, (row["key"], *place), question.labels[label]


def _place(row: Mapping[str, Any]) -> Place:
    return row["key"], row["reference"], row["candidate"]


def _bootstrap(
    statistic: Callable[[Floats, Floats], float], one: Floats, two: Floats, resamples: int = RESAMPLES
) -> Interval:
    """A statistic of pairs with its 2.5 and 97.5 percentile over resamples of the pairs."""
    value = statistic(one, two)
    random = np.random.default_rng(SEED)
    drawn = (random.integers(0, len(one), len(one)) for _ in range(resamples))
    found = np.array([statistic(one[places], two[places]) for places in drawn])
    low, high = np.percentile(found, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high), n=len(one))
