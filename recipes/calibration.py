"""`bakery calibrate`: a judged step against the truth or people's labels, asked twice, and its controls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.admission import probe_address
from filters.agreement import Agreement, Retest, agreement, read_labels, retest
from filters.calibrate import CalibrateError, Interval, Place
from filters.check_measure import CheckMeasure, measure_check
from filters.checks import ALL, CHECKS
from filters.claims import read_claim
from filters.controls import KINDS, draw_rows, read_controls
from filters.judge_step import JudgeConfig
from filters.right_answers import right_answer
from filters.rubrics import pick_questions
from filters.served import ServedEngineConfig
from filters.truth import fault_of
from recipes.identity import directories
from recipes.inputs import Samples, samples_of
from recipes.run import LEDGER
from recipes.schema import Recipe, RecipeError, Step
from recipes.servers import expect_endpoints
from recipes.steps import JUDGES
from shards.index import Directory
from shards.ledger import Ledger
from shards.manifest import read_manifest
from shards.sample import Sample
from shards.stage import Work
from shards.storage import Storage
from shards.tables import questions as tables
from shards.tables import read_table

RETESTS = "retests"  # a ledger of its own: the same request, asked a second time
MOST = 2000  # samples whose truth is read


@dataclass(frozen=True, kw_only=True)
class ControlScore:
    """What the judge said of one kind of control: the mean expected value, beside that of the set."""

    question: str
    control: str
    n: int
    mean: float
    of_the_set: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All that was measured of a judged step.

    Attributes:
        unjudged: people's labels that no answer of the step stands beside, by question.
    """

    step: str
    agreements: Sequence[Agreement] = ()
    unjudged: Mapping[str, int] = field(default_factory=dict)
    retests: Mapping[str, Retest] = field(default_factory=dict)
    controls: Sequence[ControlScore] = ()
    checks: Sequence[CheckMeasure] = ()

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def calibrate(recipe: Recipe, out: Storage, name: str, labels: Path | None, again: int) -> Calibration:
    """Measure a judged step.

    Args:
        recipe: that holds it.
        out: where it was made.
        name: of the step.
        labels: a CSV of people's labels; without it the truth of rendered samples is used.
        again: samples to ask a second time.

    Raises:
        RecipeError: it is no judged step, or not finished.
        CalibrateError: there is nothing to measure against.
    """
    step, scores, samples = open_judged(recipe, out, name)
    questions = pick_questions(step.settings.questions)  # type: ignore[attr-defined]
    held = [name for name in (*(q.id for q in questions), *CHECKS, ALL) if name in tables(scores)]
    questions = tuple(question for question in questions if question.id in held)
    labelled = read_labels(labels, {question.id: question for question in questions}) if labels else {}
    known = [] if labels else _read_claims(samples, MOST)
    twice = _read(samples, again)
    keys = {place[0] for places in labelled.values() for place in places}
    keys |= {sample.key for sample in (*known, *twice)}
    rows = {name: _rows(scores, name, keys) for name in held}
    right = labelled if labels else truths(known, rows)
    if not any(right.values()) and not again:
        raise CalibrateError(
            f"{labels}: expected labels of {', '.join(q.id for q in questions)}, got none"
            if labels
            else f"{name}: expected samples that know their truth, got none; give --labels (`bakery label`)"
        )
    return Calibration(
        step=name,
        agreements=[agreement(q, rows[q.id], right[q.id]) for q in questions if right.get(q.id)],
        unjudged=_unjudged(labelled, rows),
        retests=_retests(step, samples, twice, out, rows),
        controls=list(control_scores(scores, held)),
        checks=_checks(known, rows, right),
    )


def _read(samples: Samples, count: int) -> list[Sample]:
    """Some samples, the same ones every time."""
    opened = Directory(samples.storage)
    return [opened.sample(row.shard, row.row) for row in draw_rows(samples.rows(0), count)]


def _read_claims(samples: Samples, count: int) -> list[Sample]:
    """The same without their pictures."""
    opened = Directory(samples.storage)
    drawn = draw_rows(samples.rows(0), count)
    return [read_claim(opened, row.shard, opened.row(row.shard, row.row)) for row in drawn]


def _rows(scores: Storage, name: str, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of a table about some samples; of millions, the others never become objects."""
    table = read_table(scores, name)
    wanted = pa.array(sorted(keys), pa.string())
    rows: list[dict[str, Any]] = table.filter(pc.is_in(table.column("key"), value_set=wanted)).to_pylist()
    return rows


def _unjudged(
    labelled: Mapping[str, Mapping[Place, float]], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, int]:
    """Labels, by question, of places that the step has no answer about."""
    judged = {
        name: {(row["key"], row["reference"], row["candidate"]) for row in rows[name]} for name in labelled
    }
    counts = {name: len(places.keys() - judged[name]) for name, places in labelled.items()}
    return {name: count for name, count in counts.items() if count}


def open_judged(recipe: Recipe, out: Storage, name: str) -> tuple[Step, Storage, Samples]:
    """A finished judged step, its tables, and the samples it judged.

    Raises:
        RecipeError: it is no judged step, or not finished.
    """
    if name not in recipe.steps or recipe.steps[name].type not in JUDGES:
        judged = ", ".join(step.name for step in recipe.steps.values() if step.type in JUDGES)
        raise RecipeError([f"{recipe.path}: expected a judged step of {judged or 'none'}, got {name!r}"])
    step, names = recipe.steps[name], directories(recipe)
    scores = out.child(names[name])
    if read_manifest(scores) is None:
        raise RecipeError([f"{scores.uri}: expected a finished step, got none; `bakery run` makes it"])
    return step, scores, samples_of(out, names[step.inputs["input"][0]])


def truths(
    samples: Iterable[Sample], rows: Mapping[str, Iterable[Mapping[str, Any]]]
) -> dict[str, dict[Place, float]]:
    """Right answers by question and place, of samples that know their truth."""
    known = {sample.key: sample for sample in samples}
    found: dict[str, dict[Place, float]] = {}
    for question, asked in rows.items():
        for row in asked:
            place = row["key"], row["reference"], row["candidate"]
            sample = known.get(place[0])
            value = right_answer(question, sample, *place[1:]) if sample else None
            if value is not None:
                found.setdefault(question, {})[place] = value
    return found


def _checks(
    known: Iterable[Sample],
    rows: Mapping[str, Iterable[Mapping[str, Any]]],
    right: Mapping[str, Mapping[Place, float]],
) -> list[CheckMeasure]:
    """What `verify` found, check by check; nothing of a judge."""
    faults = {sample.key: fault_of(sample.provenance.truth) or "" for sample in known}
    held = [name for name in (*CHECKS, ALL) if right.get(name)]
    found = (measure_check(name, rows[name], right[name], faults) for name in held)
    return [each for each in found if each]


def _retests(
    step: Step,
    samples: Samples,
    twice: Sequence[Sample],
    out: Storage,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Retest]:
    if not twice:
        return {}
    expect_endpoints(step)
    assert isinstance(step.settings, JudgeConfig)
    settings = step.settings.reading([samples.storage])
    ledger = Ledger(out.child(RETESTS))
    if isinstance(settings.engine, ServedEngineConfig):  # asked again is the same judge, not whatever answers
        at = probe_address(settings.engine.identity)
        probe = Ledger(out.child(LEDGER)).get(at)
        ledger.commit({} if probe is None else {at: probe})
    stage = settings.build(ledger)
    try:
        outcomes = stage([Work(key=sample.key, parents=(sample,)) for sample in twice])
    finally:
        stage.close()
    second = {name: [row for outcome in outcomes for row in outcome.rows.get(name, ())] for name in rows}
    return {name: retest(rows[name], second[name]) for name in rows if second[name]}


def control_scores(scores: Storage, held: Iterable[str]) -> Iterator[ControlScore]:
    """The mean of each control, question by question."""
    table = read_controls(scores)
    if table is None:
        return
    table = table.filter(pc.equal(table.column("status"), "ok"))
    for question in held:
        own = pc.mean(read_table(scores, question, ["expected"]).column("expected")).as_py()
        for kind in KINDS:
            found = table.filter(
                pc.and_(pc.equal(table.column("question"), question), pc.equal(table.column("control"), kind))
            )
            if found.num_rows and own is not None:
                yield ControlScore(
                    question=question,
                    control=kind,
                    n=found.num_rows,
                    mean=pc.mean(found.column("expected")).as_py(),
                    of_the_set=own,
                )


def describe(found: Calibration) -> Iterator[str]:
    """A calibration in words."""
    for each in found.agreements:
        yield f"{each.question}: {each.n} answers with a right one, {each.good} good, {each.unread} unread"
        yield f"  ROC AUC {_interval(each.auc)}"
        yield f"  Cohen's kappa {_interval(each.kappa)}"
        yield f"  expected calibration error {_interval(each.calibration_error)}"
        for at in each.confusions:
            yield (
                f"  from {at.threshold:g}: keeps {at.good_kept} good and {at.bad_kept} bad, "
                f"rejects {at.good_rejected} good and {at.bad_rejected} bad"
            )
    for question, count in found.unjudged.items():
        yield f"{question}: {count} more labels are of samples that this step did not judge"
    for question, test in found.retests.items():
        yield (
            f"{question}, asked again: {test.n} answers, {test.same_mode:.1%} the same mode; expected value "
            f"{test.mean_difference:.4f} off on average, {test.largest_difference:.4f} at most"
        )
    for check in found.checks:
        yield (
            f"{check.check}: {check.n} samples, {check.faulty} faulty, {check.refused} refused: precision "
            f"{_interval(check.precision)}, recall {_interval(check.recall)}"
        )
        yield from (f"  {fault}: {hits} of {n} found" for fault, (hits, n) in check.found.items())
    for control in found.controls:
        yield (
            f"{control.question}, control {control.control} ({KINDS[control.control]}): "
            f"{control.mean:.2f} on average of {control.n}, the set {control.of_the_set:.2f}"
        )


def _interval(found: Interval | None) -> str:
    return (
        f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
        if found
        else "cannot be told: one kind only"
    )
