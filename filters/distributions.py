"""Distributions: of each score a histogram over samples, parted by a decision, with the rules drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.rubrics import load_questions
from filters.scored import Samples, read_scores
from filters.select import worst_of
from shards.storage import Storage
from shards.tables import questions

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

BINS = 40


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of every sample that was asked, by its worst row; NaN where a reply was unreadable.

    Attributes:
        name: question, or question.value, as a selection names it.
        keys: of the samples.
        low, high: of a sample's rows the least and the largest value.
        span: (least, largest) value that a row can have.
        rows: replies that it was read from.
    """

    name: str
    keys: pa.Array
    low: Floats
    high: Floats
    span: tuple[float, float]
    rows: int

    @property
    def unreadable(self) -> int:
        """Samples with a reply that could not be read."""
        return int(np.isnan(self.low).sum())

    def at(self, keys: pa.Array, *, is_high: bool = False) -> Floats:
        """The score of these samples, NaN where there is none."""
        places = pc.index_in(keys, value_set=self.keys)
        values = np.append(self.high if is_high else self.low, np.nan)
        found: Floats = values[places.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)]
        return found


def load_scores(tables: Sequence[Storage], names: Sequence[str]) -> dict[str, Score]:
    """Scores by name, from directories of question tables.

    Raises:
        SelectError: no directory holds the question.
    """
    return {name: _score(name, table) for name, table in read_scores(tables, names).items()}


def all_scores(storage: Storage) -> dict[str, Score]:
    """The expected value of every question that a directory holds."""
    return load_scores([storage], questions(storage))


def worst_by_key(name: str, table: pa.Table) -> Floats:
    """The least value of each key of a table of key, value, status; without keys that could not be read."""
    score = _score(name, table)
    found: Floats = score.low[np.isfinite(score.low)]
    return found


def _score(name: str, table: pa.Table) -> Score:
    keys = pc.unique(table.column("key"))
    worst = worst_of(Samples(keys, pa.nulls(len(keys), pa.string())), name, table)
    low = np.where(worst.unreadable, np.nan, worst.low)
    high = np.where(worst.unreadable, np.nan, worst.high)
    return Score(
        name=name, keys=keys, low=low, high=high, span=_span(name, low, high), rows=int(table.num_rows)
    )


def _span(name: str, low: Floats, high: Floats) -> tuple[float, float]:
    """From the labels of a question that the shipped rubric holds, else from what was found."""
    question, _, value = name.partition(".")
    known = load_questions()
    if value == "label_mass":
        return 0.0, 1.0
    if question in known:
        return min(known[question].labels.values()), max(known[question].labels.values())
    values = np.concatenate([low, high])
    values = values[np.isfinite(values)]
    if not len(values) or values.min() == values.max():
        return 0.0, max(1.0, float(values.max(initial=1.0)))
    return min(0.0, float(values.min())), max(1.0, float(values.max()))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A bound that a selection sets: values on the wrong side are rejected."""

    value: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of samples by value, in parts.

    Attributes:
        name: of the score.
        span: (left end of the first bin, right end of the last).
        parts: counts for each bin, by what the part is called.
        rules: bounds to draw.
        unreadable: samples that have no value.
    """

    name: str
    span: tuple[float, float]
    parts: Mapping[str, npt.NDArray[np.int64]]
    rules: tuple[Rule, ...] = ()
    unreadable: int = 0

    @property
    def words(self) -> str:
        """The picture in words, for those who cannot see it."""
        counts = ", ".join(f"{int(part.sum()):,} {name}" for name, part in self.parts.items())
        rules = "; ".join(rule.words for rule in self.rules)
        low, high = self.span
        return f"Histogram of {self.name} from {low:g} to {high:g}: {counts}{'; ' if rules else ''}{rules}"


def histogram(
    score: Score,
    parts: Mapping[str, pa.Array],
    rules: Sequence[Rule] = (),
    *,
    is_high: bool = False,
) -> Histogram:
    """Count each part's samples by value; the last bin holds its right end."""
    edges = np.linspace(*score.span, BINS + 1)
    values = {name: score.at(keys, is_high=is_high) for name, keys in parts.items()}
    return Histogram(
        name=score.name,
        span=score.span,
        parts={name: _counts(found, edges) for name, found in values.items()},
        rules=tuple(rules),
        unreadable=score.unreadable,
    )


def histogram_of(name: str, parts: Mapping[str, Floats], span: tuple[float, float]) -> Histogram:
    """Count values of parts that share no keys."""
    edges = np.linspace(*span, BINS + 1)
    return Histogram(name=name, span=span, parts={part: _counts(v, edges) for part, v in parts.items()})


def _counts(values: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """Values beyond the span count in its outermost bins: no sample is left out of the picture."""
    finite = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
    counts: npt.NDArray[Any] = np.histogram(finite, edges)[0]
    return counts.astype(np.int64)
