"""`evaluate`: score tables that judges made become a benchmark's figures; asks nobody, opens no picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from filters.benchmarks import (
    COMPOSITION,
    RESAMPLES,
    SHOWN,
    TASK_PREFIX,
    TOP,
    Picture,
    average_rounds,
    composition,
    distinction,
    figures,
)
from filters.checks import SCENE
from filters.drawn_cases import Claims
from filters.evaluated import Evaluated, write_evaluated
from filters.prints import samples_below
from filters.rubrics import load_questions, pick_questions
from filters.scored import find_tables
from shards.books import Books
from shards.driver_step import DriverStep, Input, Result
from shards.manifest import record
from shards.sample import Json, Sample
from shards.settings import RUN
from shards.storage import Storage
from shards.tables import WHOLE, read_table, table_of, write_tables

UNREADABLE = "unreadable"
Row = Mapping[str, Any]
Rows = Mapping[str, Mapping[tuple[int, int], Row]]  # of a table: by key, then by reference and candidate


class EvaluateError(ValueError):
    """Scores that no figure can be made of: *where: expected what, got what; the way out*."""


class EvaluateConfig(DriverStep):
    """Settings of `evaluate`.

    Inputs: `input`, the drawn samples; `scores`, what `judge` and `verify` found of them. Of a set that
    nobody drew, its own targets are scored: what a model is measured against.
    """

    VERSION: ClassVar[int] = 2

    by: Literal["task", "case"] = Field(default="task", description="index column that names the subtasks")
    prompt_following: str = Field(
        default="instruction_following", description="question whose answer is prompt following"
    )
    subject_consistency: str = Field(
        default="consistency", description="question whose answer is subject consistency"
    )
    shown: str = Field(
        default="target_shows",
        description="question of each candidate, whether the target shows it; empty: no distinction",
    )
    resamples: int = Field(
        default=RESAMPLES, ge=100, le=100_000, description="resamples of the cases, for the intervals"
    )
    seed: int = Field(default=0, description="of the resamples; the recipe's if unset")
    tolerate_unreadable: Annotated[float, Field(**RUN)] = Field(
        default=0.02, ge=0, le=1, description="share of pictures that may have an answer that cannot be read"
    )

    @field_validator("prompt_following", "subject_consistency")
    @classmethod
    def _is_graded(cls, name: str) -> str:
        (question,) = pick_questions([name])
        if question.scope != "sample" or min(question.labels.values()) != 0:
            raise ValueError(f"expected a question of the whole sample, graded from 0, got {name!r}")
        return name

    @field_validator("shown")
    @classmethod
    def _is_of_candidates(cls, name: str) -> str:
        if name and pick_questions([name])[0].scope != "candidate":
            raise ValueError(f"expected a question of each candidate, got {name!r}")
        return name

    def tables(self) -> Sequence[str]:
        """One a measure."""
        return COMPOSITION, SHOWN

    def reads_tables(self) -> Sequence[str]:
        """Its questions about whole samples; not every benchmark lists candidates to ask about."""
        return self.prompt_following, self.subject_consistency

    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Write both tables, every picture's scores and the figures.

        Raises:
            EvaluateError: the scores are of another directory, a sample has no answer, or more answers are
                unreadable than is tolerated.
            SelectError: a question is in no directory of scores, or in two.
        """
        (of,) = inputs["input"]
        _check_same_samples(of, inputs["scores"])
        claims = Claims.of(of, self.by)
        answers = self._answers(claims, inputs["scores"])
        pictures = [self._picture(claims, answers, sample) for sample in claims.kept]
        wanted = [answers.wanted(sample) for sample in claims.kept]
        unread = sum(not of <= set(p.scores) for p, of in zip(pictures, wanted, strict=True))
        self._check_unread(unread, len(pictures))
        cases = average_rounds(pictures)
        evaluated = Evaluated(
            by=self.by,
            asked=answers.asked,
            resamples=self.resamples,
            seed=self.seed,
            coverage=claims.coverage(pictures, unread),
            figures=figures(cases, self.resamples, self.seed),
            pictures=pictures,
        )
        names = [*_write_tables(pictures, wanted, answers, target), *write_evaluated(evaluated, target)]
        count = len(pictures)
        return Result(
            files={name: record(target, name) for name in names},
            books=Books(read=count, used=count, planned=count, made=count),
            stats={"figures": evaluated.words},
        )

    def _answers(self, claims: Claims, scores: Sequence[Input]) -> Answers:
        roles = {"prompt_following": self.prompt_following, "subject_consistency": self.subject_consistency}
        if self.shown and any(_is_distinction(sample) for sample in claims.kept):
            roles["shown"] = self.shown
        held = find_tables([each.storage for each in scores], list(roles.values()))
        manifests = {each.storage.uri: each.manifest for each in scores}
        keys = pa.array([sample.key for sample in claims.kept], pa.string())
        return Answers(
            rows={question: _rows(storage, question, keys) for question, storage in held.items()},
            asked={
                role: _asked(question, manifests[held[question].uri].config)
                for role, question in roles.items()
                if held
            },
            shown=roles.get("shown", ""),
        )

    def _picture(self, claims: Claims, answers: Answers, sample: Sample) -> Picture:
        graded = [
            _graded(question, answers.at(question, sample.key))
            for question in (self.prompt_following, self.subject_consistency)
        ]
        scores: dict[str, float] = {}
        if None not in graded:
            following, consistency = (value or 0.0 for value in graded)
            scores = {"prompt_following": following, "subject_consistency": consistency}
            scores[COMPOSITION] = composition(following, consistency)
        shown: list[bool] = []
        if places := answers.asked_about(sample):
            rows = [answers.at(answers.shown, sample.key, *place) for place, _ in places]
            if all(row["status"] == "ok" for row in rows):
                shown = [row["mode"] > 0 for row in rows]
                scores |= distinction([is_target for _, is_target in places], shown)
        case, subtask = claims.place(sample)
        return Picture(
            key=sample.key,
            case=case,
            subtask=subtask,
            content=claims.contents[sample.key],
            scores=scores,
            shown=tuple(shown),
        )

    def _check_unread(self, unread: int, total: int) -> None:
        if unread > self.tolerate_unreadable * total:
            raise EvaluateError(
                f"evaluate: expected at most {self.tolerate_unreadable:.1%} of pictures with an answer that "
                f"cannot be read, got {unread} of {total}; `bakery retry` asks the judge's errors again, "
                "tolerate_unreadable allows more"
            )


def _check_same_samples(of: Input, scores: Sequence[Input]) -> None:
    """Refuse scores of other pictures: what is drawn for a set has the set's own keys."""
    wanted = samples_below(of).manifest.directory
    for each in scores:
        if (found := samples_below(each).manifest.directory) != wanted:
            raise EvaluateError(
                f"evaluate: scores: expected scores of {wanted}, got {each.manifest.directory} of {found}; "
                "judge the same directory"
            )


def _is_distinction(sample: Sample) -> bool:
    return sample.provenance.task.startswith(TASK_PREFIX)


def _graded(question: str, row: Row) -> float | None:
    """A judge's answer on the benchmark's scale; None where it could not be read."""
    if row["status"] != "ok":
        return None
    top = max(load_questions()[question].labels.values())
    return float(row["expected"]) * TOP / top


def _asked(question: str, config: Mapping[str, Json]) -> Json:
    """What an answer depends on beside the picture: question, wording and judge, as its step has them."""
    settings = config.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    rubric = settings.get("rubric")
    wordings = {str(name): digest for name, digest in rubric} if isinstance(rubric, list | tuple) else {}
    return {"question": question, "wording": wordings.get(question), "judge": settings.get("judge")}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The tables that an evaluation reads.

    Attributes:
        rows: of each question, those of the evaluated samples.
        asked: by role what was asked, and whom.
        shown: the question about candidates; "" where it is not wanted.
    """

    rows: Mapping[str, Rows]
    asked: Mapping[str, Json]
    shown: str

    def asked_about(self, sample: Sample) -> list[tuple[tuple[int, int], bool]]:
        """Reference and candidate of each that counts, and whether it is to be shown. Scenes do not count:
        they are no subject that could be taken for another, and `verify` asks nothing about them."""
        if not self.shown or not _is_distinction(sample):
            return []
        return [
            ((reference, number), candidate.is_target)
            for reference, candidates in enumerate(sample.subjects)
            for number, candidate in enumerate(candidates)
            if candidate.category != SCENE
        ]

    def wanted(self, sample: Sample) -> set[str]:
        """The measures that a sample's answers should give."""
        return {COMPOSITION, SHOWN} if self.asked_about(sample) else {COMPOSITION}

    def at(self, question: str, key: str, reference: int = WHOLE, candidate: int = WHOLE) -> Row:
        """A sample's row.

        Raises:
            EvaluateError: there is none, or it has no value.
        """
        row = self.rows.get(question, {}).get(key, {}).get((reference, candidate))
        where = f"{key}, image {reference + 1}, candidate {candidate + 1}" if reference != WHOLE else key
        if row is None:
            raise EvaluateError(
                f"evaluate: score {question!r}: expected a row for every sample, got none for {where}; judge "
                "the same directory"
            )
        if row["status"] == "ok" and (row["expected"] is None or row["mode"] is None):
            raise EvaluateError(
                f"evaluate: score {question!r}: expected a value where the status is ok, got none for "
                f"{where}; judge it again"
            )
        return row

    def mass(self, key: str, asked: Iterable[str]) -> float:
        """The least label mass of a sample's answers to these questions."""
        rows = (row for question in asked for row in self.rows[question][key].values())
        return min(float(row["label_mass"]) for row in rows)


def _rows(storage: Storage, question: str, keys: pa.Array) -> Rows:
    columns = ["key", "reference", "candidate", "mode", "expected", "label_mass", "status"]
    table = read_table(storage, question, columns)
    table = table.filter(pc.is_in(table.column("key"), value_set=keys))
    found: dict[str, dict[tuple[int, int], Row]] = {}
    for row in table.to_pylist():
        found.setdefault(row["key"], {})[row["reference"], row["candidate"]] = row
    return found


def _write_tables(
    pictures: Sequence[Picture], wanted: Sequence[set[str]], answers: Answers, target: Storage
) -> list[str]:
    """A table a measure: composition of all, distinction of those whose candidates were asked about."""
    graded = [question for question in answers.rows if question != answers.shown]
    asked = {COMPOSITION: graded, SHOWN: [answers.shown]} if answers.shown else {COMPOSITION: graded}
    names = []
    for measure, questions in asked.items():
        pairs = zip(pictures, wanted, strict=True)
        rows = [_row(picture, measure, answers, questions) for picture, of in pairs if measure in of]
        names.append(f"scores/{measure}.parquet")
        with target.scratch() as path:
            write_tables([table_of(rows)], path)
            target.publish(path, names[-1])
    return names


def _row(picture: Picture, measure: str, answers: Answers, asked: Sequence[str]) -> dict[str, Any]:
    value = picture.scores.get(measure)
    return {
        "key": picture.key,
        "reference": WHOLE,
        "candidate": WHOLE,
        "probabilities": [],
        "mode": None if value is None else float(round(value)),
        "expected": value,
        "label_mass": answers.mass(picture.key, asked),
        "status": UNREADABLE if value is None else "ok",
    }
