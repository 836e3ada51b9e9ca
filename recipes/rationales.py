"""`bakery explain`: the judge's reasons for scores near a threshold, or for those of some samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.judge import Asked, make_requests, request_bytes
from filters.judge_step import pay
from filters.rationale import Rationale, ask_in_words, nearest, read_rationale
from filters.rubrics import pick_questions
from filters.served import ServedEngineConfig
from recipes.calibration import open_judged
from recipes.inputs import Samples
from recipes.run import LEDGER
from recipes.schema import Recipe, RecipeError
from recipes.servers import expect_endpoints
from shards.index import Directory
from shards.ledger import Ledger, request_hash
from shards.storage import Storage
from shards.tables import read_table


@dataclass(frozen=True)
class Explained:
    """A score, and why; None where no reason came, or none that can be read."""

    key: str
    reference: int
    candidate: int
    expected: float
    rationale: Rationale | None


@dataclass(frozen=True, kw_only=True)
class Near:
    """Scores within `within` of a threshold, the `most` nearest."""

    threshold: float
    within: float
    most: int


def explain(
    recipe: Recipe, out: Storage, name: str, score: str, which: Near | Sequence[str]
) -> list[Explained]:
    """Ask for the reasons of some scores; each is paid once.

    Args:
        recipe: with the judged step.
        out: where it was run.
        name: of the step.
        score: the question.
        which: scores near a threshold, or those of some keys.

    Raises:
        RecipeError: the step has no such question or no score of a key, or its judge cannot write.
    """
    step, scores, samples = open_judged(recipe, out, name)
    engine = step.settings.engine  # type: ignore[attr-defined]
    questions = step.settings.questions  # type: ignore[attr-defined]
    if score not in questions:
        raise RecipeError([f"{name}: expected a question of {', '.join(questions)}, got {score!r}"])
    if "raw" in pick_questions([score])[0].images:
        raise RecipeError([f"{name}: expected a question about a sample's own images, got {score!r}"])
    if not isinstance(engine, ServedEngineConfig):
        raise RecipeError([f"{name}: expected a served judge, which can write, got {engine.kind!r}"])
    expect_endpoints(step)
    table = read_table(scores, score)
    chosen = _near(table, which) if isinstance(which, Near) else _named(table, which, f"{name}, {score}")
    places = {(row["key"], row["reference"], row["candidate"]): row for row in chosen}
    asked = list(_asked(samples, score, engine, set(places)))
    replies = _replies(engine, score, asked, Ledger(out.child(LEDGER)))
    return [
        Explained(
            key=sample.key,
            reference=request.reference,
            candidate=request.candidate,
            expected=places[sample.key, request.reference, request.candidate]["expected"],
            rationale=read_rationale(replies[address]),
        )
        for sample, requests in asked
        for address, request in requests.items()
    ]


def _near(table: pa.Table, near: Near) -> list[Mapping[str, Any]]:
    is_near = pc.less_equal(pc.abs(pc.subtract(table.column("expected"), near.threshold)), near.within)
    return nearest(table.filter(is_near).to_pylist(), near.threshold, near.within, near.most)


def _named(table: pa.Table, keys: Sequence[str], where: str) -> list[Mapping[str, Any]]:
    rows = table.filter(pc.is_in(table.column("key"), pa.array(keys, pa.string()))).to_pylist()
    chosen = [row for row in rows if row["status"] == "ok"]
    lacking = [key for key in keys if key not in {row["key"] for row in chosen}]
    if lacking:
        raise RecipeError([f"--key {key}: expected a sample that {where} has a score of" for key in lacking])
    return chosen


def _asked(
    samples: Samples, score: str, engine: ServedEngineConfig, places: set[tuple[str, int, int]]
) -> Iterator[Asked]:
    opened = Directory(samples.storage)
    for key in sorted({place[0] for place in places}):
        sample = opened[key]
        requests = [
            ask_in_words(request)
            for request in make_requests(sample, pick_questions([score]), engine.identity)
            if (key, request.reference, request.candidate) in places
        ]
        yield sample, {request_hash(request_bytes(request)): request for request in requests}


def _replies(
    engine: ServedEngineConfig, score: str, asked: list[Asked], ledger: Ledger
) -> dict[bytes, bytes]:
    held = {a: reply for _, requests in asked for a in requests if (reply := ledger.get(a)) is not None}
    unpaid = [(s, left) for s, r in asked if (left := {a: q for a, q in r.items() if a not in held})]
    if not unpaid:
        return held
    judge = engine.build(pick_questions([score]), ledger)
    try:
        return held | pay(judge, ledger, unpaid)
    finally:
        judge.close()


def describe(found: Sequence[Explained]) -> Iterator[str]:
    """Reasons in words, and how many scores have none."""
    if not found:
        yield "no score is that near; a larger --within looks farther"
    for each in found:
        place = f" reference {each.reference}" if each.reference >= 0 else ""
        place += f" candidate {each.candidate}" if each.candidate >= 0 else ""
        if each.rationale:
            said = f"{each.rationale.answer}: {each.rationale.reason}"
            yield f"{each.key}{place}: {each.expected:.2f}, then {said}"
    silent = sum(each.rationale is None for each in found)
    if silent:
        yield (
            f"{silent} of {len(found)} have no reason: the request was lost, which the same command "
            "asks again, or what came is no JSON with a reason"
        )


def write_jsonl(found: list[Explained], path: Path) -> None:
    """A line a score that has a reason."""
    lines = [
        {
            "key": each.key,
            "reference": each.reference,
            "candidate": each.candidate,
            "expected": each.expected,
            "reason": each.rationale.reason,
            "answer": each.rationale.answer,
        }
        for each in found
        if each.rationale
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
