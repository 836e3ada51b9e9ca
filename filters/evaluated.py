"""What an evaluation leaves: figures with intervals, the cases behind them, every picture's scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from filters.benchmarks import (
    COM,
    COMPOSITION,
    DIS,
    MEASURES,
    SHOWN,
    TOTALS,
    Cases,
    Figure,
    Figures,
    Picture,
    average_rounds,
)
from shards.sample import Json
from shards.storage import Storage, StorageError

FILE = "evaluated.parquet"
RESULT = "evaluation.json"
SCHEMA = 2
DIGITS = 6  # of a figure: beyond them threads that add in another order would show
TABLE = pa.schema(
    [
        ("key", pa.string()),
        ("case", pa.string()),
        ("subtask", pa.string()),
        ("content", pa.string()),
        *((measure, pa.float64()) for measure in MEASURES),
        ("shown", pa.list_(pa.bool_())),
    ]
)


class EvaluatedError(ValueError):
    """A directory that holds no evaluation of ours: *where: expected what, got what; the way out*."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many of the cases stand behind the figures.

    Attributes:
        cases: there are, those that could not be drawn and those that a selection left out included.
        scored: with a composition score: what COM is the mean of.
        undrawn: without a picture, as none could be drawn.
        unselected: without a picture, as a selection left it out.
        unreadable: of which no picture's answers could be read.
        undrawn_pictures: that could not be drawn, of cases that have others.
        unselected_pictures: that a selection left out, of cases that have others.
        pictures: of the others and these.
        unreadable_pictures: with an answer that could not be read.
    """

    cases: int
    scored: int
    undrawn: int = 0
    unselected: int = 0
    unreadable: int = 0
    undrawn_pictures: int = 0
    unselected_pictures: int = 0
    pictures: int = 0
    unreadable_pictures: int = 0

    @property
    def words(self) -> str:
        """What stands beside every figure.

        >>> Coverage(cases=409, scored=398, undrawn=9, unreadable=2).words
        '398 of 409 cases (9 not drawn, 2 unreadable)'
        >>> Coverage(cases=8, scored=8, pictures=24, unreadable_pictures=1).words
        '8 of 8 cases (1 of 24 pictures not wholly read)'
        """
        causes = {
            "not drawn": self.undrawn,
            "not selected": self.unselected,
            "unreadable": self.unreadable,
            "more pictures not drawn": self.undrawn_pictures,
            "more pictures not selected": self.unselected_pictures,
        }
        lacking = ", ".join(f"{count:,} {cause}" for cause, count in causes.items() if count)
        if self.unreadable_pictures > self.unreadable:  # of cases that have others, or a half that was read
            partly = f"{self.unreadable_pictures:,} of {self.pictures:,} pictures not wholly read"
            lacking = f"{lacking}, {partly}" if lacking else partly
        return f"{self.scored:,} of {self.cases:,} cases{f' ({lacking})' if lacking else ''}"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A finished evaluation.

    Attributes:
        by: what its subtasks are: "task" or "case".
        asked: the questions its scores are answers to, with wording and judge; what is compared must agree.
        resamples, seed: of the intervals.
        coverage: cases behind the figures.
        figures: means and intervals.
        pictures: every picture's scores.
    """

    by: str
    asked: Mapping[str, Json]
    resamples: int
    seed: int
    coverage: Coverage
    figures: Figures
    pictures: Sequence[Picture]

    @cached_property
    def cases(self) -> Cases:
        """The cases' scores."""
        return average_rounds(self.pictures)

    @property
    def words(self) -> str:
        """The figures in one line."""
        told = [f"{name} {figure_words(self.figures.totals.get(name))}" for name in TOTALS]
        return f"{', '.join(told)}; {self.behind}"

    @property
    def behind(self) -> str:
        """What the figures rest on: a subtask of which nothing was scored is in no total."""
        subtasks = self.figures.subtasks.values()
        counts = {
            total: sum(measure in held for held in subtasks)
            for total, measure in ((COM, COMPOSITION), (DIS, SHOWN))
        }
        told = ", ".join(f"{count:,} in {total}" for total, count in counts.items() if count)
        return f"{self.coverage.words}; subtasks: {told}" if told else self.coverage.words


def figure_words(figure: Figure | None) -> str:
    """A figure with its interval, where that is known.

    >>> figure_words(Figure(value=7.912, low=7.75, high=8.069, n=398, fewest=47)), figure_words(None)
    ('7.91 (7.75–8.07)', 'not measured')
    >>> figure_words(Figure(value=5, low=4, high=6, n=9, fewest=1))
    '5.00'
    """
    if not figure:
        return "not measured"
    spread = f" ({figure.low:.2f}–{figure.high:.2f})" if figure.has_interval else ""
    return f"{figure.value:.2f}{spread}"


def write_evaluated(evaluated: Evaluated, target: Storage) -> list[str]:
    """Publish both files; return their names."""
    rows = [
        {
            **{name: getattr(picture, name) for name in ("key", "case", "subtask", "content")},
            **picture.scores,
            "shown": list(picture.shown),
        }
        for picture in evaluated.pictures
    ]
    with target.scratch() as path:
        pq.write_table(pa.Table.from_pylist(rows, schema=TABLE), path, compression="zstd")
        target.publish(path, FILE)
    value = {
        "schema": SCHEMA,
        "by": evaluated.by,
        "asked": evaluated.asked,
        "resamples": evaluated.resamples,
        "seed": evaluated.seed,
        "coverage": asdict(evaluated.coverage),
        "totals": {name: _written(found) for name, found in evaluated.figures.totals.items()},
        "subtasks": {
            name: {measure: _written(found) for measure, found in held.items()}
            for name, held in evaluated.figures.subtasks.items()
        },
    }
    target.write(RESULT, json.dumps(value, indent=1, sort_keys=True).encode())
    return [FILE, RESULT]


def _written(figure: Figure) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in asdict(figure).items()}


def is_evaluated(storage: Storage) -> bool:
    """Whether a directory of scores is an evaluation."""
    return storage.exists(RESULT)


def read_evaluated(storage: Storage) -> Evaluated:
    """A finished evaluation.

    Raises:
        EvaluatedError: the directory holds none, or one of another version.
    """
    try:
        value: Any = json.loads(storage.read(RESULT))
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
        return Evaluated(
            by=value["by"],
            asked=value["asked"],
            resamples=value["resamples"],
            seed=value["seed"],
            coverage=Coverage(**value["coverage"]),
            figures=Figures(
                totals={name: Figure(**found) for name, found in value["totals"].items()},
                subtasks={
                    name: {measure: Figure(**found) for measure, found in held.items()}
                    for name, held in value["subtasks"].items()
                },
            ),
            pictures=_pictures(storage),
        )
    except (StorageError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluatedError(
            f"{storage.path(RESULT)}: expected an evaluation of schema {SCHEMA}, got {error}; "
            "delete the directory to make it again"
        ) from error


def _pictures(storage: Storage) -> list[Picture]:
    with storage.open(FILE) as file:
        rows = pq.read_table(file).to_pylist()
    return [
        Picture(
            key=row["key"],
            case=row["case"],
            subtask=row["subtask"],
            content=row["content"],
            scores={measure: row[measure] for measure in MEASURES if row[measure] is not None},
            shown=tuple(row["shown"]),
        )
        for row in rows
    ]
