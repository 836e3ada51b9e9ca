"""Benchmark figures from scores of pictures, as SconeEval and OmniContext have them; pure.

A picture's scores become its case's, cases make subtasks, subtasks make the figures. All of it is linear in
the cases' scores, so the difference of two evaluations is the figures of their cases' differences.

Source: arXiv 2512.12675, section 4, and its released scorer (SconeEval); OmniGen2's scorer (OmniContext).
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from filters.calibrate import Interval

Floats: TypeAlias = npt.NDArray[np.float64]

TOP = 10.0  # of the scale that both benchmarks score on
TASK_PREFIX = "distinction"  # how tasks begin whose references show other candidates
RESAMPLES = 1000
CELLS = 1 << 18  # of drawn places held at once

COMPOSITION, SHOWN = "composition", "distinction"
DISTINCTION = ("accuracy", "precision", "recall", "f1", SHOWN)
MEASURES = ("prompt_following", "subject_consistency", COMPOSITION, *DISTINCTION)
COM, DIS, OVERALL = "COM", "DIS", "Overall"
TOTALS = (COM, DIS, OVERALL)


def composition(prompt_following: float, subject_consistency: float) -> float:
    """A picture's composition score, of two scores in 0..10.

    >>> composition(10, 10), composition(8, 2), composition(10, 0)
    (10.0, 4.0, 0.0)
    """
    return math.sqrt(prompt_following * subject_consistency)


def distinction(is_target: Sequence[bool], is_shown: Sequence[bool]) -> dict[str, float]:
    """A picture's distinction scores in 0..10, from each listed candidate: whether it is to be shown, and is.

    A ratio of nothing to nothing is 10 where every answer is right, and 0 otherwise: a picture without a
    fault has full marks, one that shows nothing of what it should has no precision. What the released scorer
    does there is not known. Where a target is listed, as a case of SconeEval does, only precision can be
    nothing to nothing, and the distinction score does not depend on it.

    >>> distinction([True, False], [True, False])["distinction"]
    10.0
    >>> some = distinction([True, False, False], [True, True, False])
    >>> {name: round(value, 2) for name, value in some.items()}
    {'accuracy': 6.67, 'precision': 5.0, 'recall': 10.0, 'f1': 6.67, 'distinction': 6.67}

    No candidate is shown: precision is 0/0, F1 is 0 by either convention.

    >>> distinction([True, False], [False, False])
    {'accuracy': 5.0, 'precision': 0.0, 'recall': 0.0, 'f1': 0.0, 'distinction': 2.5}

    All are shown:

    >>> {name: round(value, 2) for name, value in distinction([True, False], [True, True]).items()}
    {'accuracy': 5.0, 'precision': 5.0, 'recall': 10.0, 'f1': 6.67, 'distinction': 5.83}

    No target is listed: recall and F1 are 0/0 where nothing is shown, which is right; F1 is 0 where
    something is.

    >>> [distinction([False, False], shown)["distinction"] for shown in ([False, False], [False, True])]
    [10.0, 2.5]
    """
    pairs = list(zip(is_target, is_shown, strict=True))
    hits = sum(target and shown for target, shown in pairs)
    wrong = sum(target != shown for target, shown in pairs)
    accuracy = 1 - wrong / len(pairs)
    f1 = _ratio(2 * hits, 2 * hits + wrong, wrong)
    shares = {
        "accuracy": accuracy,
        "precision": _ratio(hits, sum(is_shown), wrong),
        "recall": _ratio(hits, sum(is_target), wrong),
        "f1": f1,
        SHOWN: (accuracy + f1) / 2,
    }
    return {name: TOP * share for name, share in shares.items()}


def _ratio(part: int, whole: int, wrong: int) -> float:
    return part / whole if whole else float(not wrong)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What one picture scored.

    Attributes:
        key: of its sample.
        case: that it was drawn for; several rounds of a case share it.
        subtask: that the case belongs to.
        content: stands for what the case says: instruction, references and candidates.
        scores: by measure, in 0..10; without those that were not asked or could not be read.
        shown: of each listed candidate whether the picture shows it, where that was asked.
    """

    key: str
    case: str
    subtask: str
    content: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Cases in order of subtask and key, the same order for the same cases.

    Attributes:
        places: (subtask, key) of each.
        contents: what stands for what each says.
        values: [N] of each measure; NaN where it was not measured.
    """

    places: Sequence[tuple[str, str]]
    contents: Sequence[str]
    values: Mapping[str, Floats]

    def count(self, measure: str) -> int:
        """Cases in which it was measured."""
        return int(np.isfinite(self.values[measure]).sum())

    def parts(self) -> Iterator[tuple[str, Floats]]:
        """Each subtask's name and values, [N, MEASURES]."""
        columns = np.stack([self.values[measure] for measure in MEASURES], axis=1)
        names = np.array([subtask for subtask, _ in self.places], dtype=object)
        for name in dict.fromkeys(names.tolist()):
            yield name, columns[names == name]


def average_rounds(pictures: Iterable[Picture]) -> Cases:
    """A case's score is the mean over its pictures in which that was measured.

    >>> rounds = [(0, {"composition": 4.0}), (1, {"composition": 8.0}), (2, {})]
    >>> drawn = [Picture(key=f"a-r{n}", case="a", subtask="one", scores=found) for n, found in rounds]
    >>> average_rounds(drawn).values["composition"]
    array([6.])
    """
    found: dict[tuple[str, str], list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda picture: picture.key):
        found[picture.subtask, picture.case].append(picture)
    places = sorted(found)
    values = {m: np.array([_mean(found[place], m) for place in places], np.float64) for m in MEASURES}
    return Cases(places=places, contents=[found[place][0].content for place in places], values=values)


def _mean(pictures: Sequence[Picture], measure: str) -> float:
    scores = [picture.scores[measure] for picture in pictures if measure in picture.scores]
    return sum(scores) / len(scores) if scores else math.nan


def paired(first: Cases, second: Cases) -> Cases:
    """The cases that say the same in both, each with its scores in the second less those in the first."""
    at, to = (
        {
            (*place, content): n
            for n, (place, content) in enumerate(zip(each.places, each.contents, strict=True))
        }
        for each in (first, second)
    )
    mine = [number for case, number in at.items() if case in to]
    theirs = [to[case] for case in at if case in to]
    return Cases(
        places=[first.places[number] for number in mine],
        contents=[first.contents[number] for number in mine],
        values={m: second.values[m][theirs] - first.values[m][mine] for m in MEASURES},
    )


@dataclass(frozen=True, kw_only=True)
class Figure(Interval):
    """A mean over cases, or a mean of subtasks' means.

    Attributes:
        fewest: cases in the smallest subtask that it rests on.
    """

    fewest: int

    @property
    def has_interval(self) -> bool:
        """One case alone does not tell how far others would lie from it, whatever stands beside it."""
        return self.fewest > 1


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means with their 95 % intervals; what was not measured has none.

    Attributes:
        subtasks: each one's mean of each measure.
        totals: by name of `TOTALS`.
    """

    subtasks: Mapping[str, Mapping[str, Figure]]
    totals: Mapping[str, Figure]


def figures(cases: Cases, resamples: int = RESAMPLES, seed: int = 0) -> Figures:
    """The figures of a benchmark.

    COM is the unweighted mean of the subtasks' composition, DIS that of their distinction, Overall that of
    COM and DIS. Intervals: 2.5 and 97.5 percentile over resamples of the cases, drawn in each subtask apart,
    as a subtask's number of cases is the benchmark's choice and no chance. A subtask's draws depend on
    nothing else.

    >>> one = Picture(key="a", case="a", subtask="one", scores={"composition": 8.0, "distinction": 6.0})
    >>> two = [Picture(key=k, case=k, subtask="two", scores={"composition": 4.0}) for k in ("b", "c")]
    >>> {name: found.value for name, found in figures(average_rounds([one, *two])).totals.items()}
    {'COM': 6.0, 'DIS': 6.0, 'Overall': 6.0}
    """
    means = {name: _means(name, values, resamples, seed) for name, values in cases.parts()}
    counts = {name: np.isfinite(values).sum(axis=0) for name, values in cases.parts()}
    subtasks = {
        name: {
            measure: _figure(means[name][:, place], int(count), int(count))
            for place, (measure, count) in enumerate(zip(MEASURES, counts[name], strict=True))
            if count
        }
        for name in means
    }
    drawn, fewest = {}, {}
    for total, measure in ((COM, COMPOSITION), (DIS, SHOWN)):
        if held := {name: of[measure].n for name, of in subtasks.items() if measure in of}:
            drawn[total] = np.mean([means[name][:, MEASURES.index(measure)] for name in held], axis=0)
            fewest[total] = min(held.values())
    if len(drawn) == 2:
        drawn[OVERALL], fewest[OVERALL] = (drawn[COM] + drawn[DIS]) / 2, min(fewest.values())
    n = {COM: cases.count(COMPOSITION), DIS: cases.count(SHOWN), OVERALL: cases.count(COMPOSITION)}
    totals = {name: _figure(found, n[name], fewest[name]) for name, found in drawn.items()}
    return Figures(subtasks=subtasks, totals=totals)


def _means(subtask: str, values: Floats, resamples: int, seed: int) -> Floats:
    """Means of each measure over the cases themselves, then over each resample: [1 + resamples, MEASURES].

    NaN in a resample that drew none of the cases in which a measure was found.
    """
    digest = hashlib.blake2b(f"{seed}/{subtask}".encode(), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest, "big"))
    measured, held = np.nan_to_num(values), np.isfinite(values).astype(np.float64)
    found = [_divided(np.ones((1, len(values))), measured, held)]
    batch = max(1, CELLS // len(values))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        places = random.integers(0, len(values), (size, len(values)), dtype=np.int32)
        rows = places + len(values) * np.arange(size)[:, None]
        drawn = np.bincount(rows.ravel(), minlength=size * len(values)).reshape(size, -1)
        found.append(_divided(drawn.astype(np.float64), measured, held))
    return np.concatenate(found)


def _divided(drawn: Floats, measured: Floats, held: Floats) -> Floats:
    """Weighted means, [rows, MEASURES], of how often each case was drawn, [rows, N]."""
    counts = drawn @ held
    means: Floats = np.full(counts.shape, np.nan)
    np.divide(drawn @ measured, counts, out=means, where=counts > 0)
    return means


def _figure(means: Floats, n: int, fewest: int) -> Figure:
    """The first mean with the percentiles of the others; never outside them by a rounding error."""
    value = float(means[0])
    low, high = np.nanpercentile(means[1:], [2.5, 97.5])
    low, high = min(value, float(low)), max(value, float(high))
    return Figure(value=value, low=low, high=high, n=n, fewest=fewest)
