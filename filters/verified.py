"""What a report shows of a verified set: each check against the truth, and samples with every verdict."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from typing import Any

from filters.check_measure import LEAST, CheckMeasure, measure_check
from filters.checks import ALL, CHECKS, LIKENESS
from filters.claims import read_claims
from filters.decisions import short_hash
from filters.embedded import ASSETS
from filters.gallery import Card, Chip, cards, value_words
from filters.lineage import Lineage
from filters.multi_answers import multi_answer
from filters.truth import fault_of
from shards.driver_step import Input
from shards.index import Directory
from shards.sample import Sample
from shards.storage import Storage
from shards.tables import questions, read_table

TABLE = ASSETS / "checks_heldout.json"
GRID = 12  # samples in the grid of a set: each fault, then each verdict, in turn


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A verified set.

    Attributes:
        label: of the step.
        words: what each check says, by its name.
        measures: each check against the truth; none where no sample knows it.
        refused: samples that each check refuses, by its name.
        total: samples that were verified.
        cards: samples with every check's verdict.
        is_measured: whether the cards have what was measured beside the checks.
        heldout: the checks as measured on a held-out set, where this judge was.
    """

    label: str
    words: Mapping[str, str]
    measures: Sequence[CheckMeasure]
    refused: Mapping[str, int]
    total: int
    cards: Sequence[Card]
    is_measured: bool
    heldout: Mapping[str, Any] | None


def is_verified(storage: Storage) -> bool:
    """Whether a directory of scores holds checks."""
    return ALL in questions(storage)


def verified(lineage: Lineage, most: int, grid: int = GRID) -> list[Verified]:
    """Every verified set of a lineage, in order.

    Args:
        lineage: of the page.
        most: samples whose truth is looked up.
        grid: samples that are shown, at most.
    """
    found = []
    for name, step in lineage.of_kind("scores"):
        if is_verified(step.storage):
            directory = Directory(lineage.steps[lineage.samples_of(name)].storage)
            found.append(_verified(lineage.labels[name], step, directory, most, grid))
    return found


def _verified(label: str, step: Input, directory: Directory, most: int, grid: int) -> Verified:
    rows = {check: read_table(step.storage, check).to_pylist() for check in (*CHECKS, ALL)}
    values = {check: _worst(each) for check, each in rows.items()}
    likeness = read_table(step.storage, LIKENESS).to_pylist() if LIKENESS in questions(step.storage) else []
    likeness = likeness if any(row["label_mass"] for row in likeness) else []  # of a set that nobody edited
    claims = list(read_claims(directory, set(sorted(values[ALL], key=short_hash)[:most])))
    faults = {sample.key: fault_of(sample.provenance.truth) or "" for sample in claims}
    return Verified(
        label=label,
        words={**CHECKS, ALL: "all of them"},
        measures=list(_measures(rows, claims, faults)),
        refused={check: sum(v is None or v < LEAST for v in each.values()) for check, each in values.items()},
        total=len(values[ALL]),
        cards=_grid(directory, rows | {LIKENESS: likeness}, values, faults, grid),
        is_measured=bool(likeness),
        heldout=_heldout(step),
    )


def _worst(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The least value of each sample; None where one could not be read."""
    found: dict[str, float | None] = {}
    for row in rows:
        value, before = row["expected"], found.get(row["key"], 1.0)
        found[row["key"]] = None if value is None or before is None else min(value, before)
    return found


def _measures(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], claims: Sequence[Sample], faults: Mapping[str, str]
) -> Iterator[CheckMeasure]:
    known = {sample.key: sample for sample in claims if sample.provenance.truth}
    for check, asked in rows.items():
        right = {}
        for row in asked:
            sample = known.get(row["key"])
            value = multi_answer(check, sample, row["reference"], -1) if sample else None
            if value is not None:
                right[row["key"], row["reference"], row["candidate"]] = value
        found = measure_check(check, asked, right, faults)
        if found:
            yield found


def _grid(
    directory: Directory,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    values: Mapping[str, Mapping[str, float | None]],
    faults: Mapping[str, str],
    most: int,
) -> list[Card]:
    """Samples of each fault and verdict in turn, drawn by a hash of their keys."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in sorted(values[ALL], key=short_hash):
        groups[faults.get(key, ""), _first_failed(key, values)].append(key)
    turns = chain.from_iterable(zip_longest(*(groups[each] for each in sorted(groups))))
    keys = list(islice((key for key in turns if key), most))
    chips = {key: _chips(key, rows) for key in keys}
    return [replace(card, chips=tuple(chips[card.key])) for card in cards(directory, keys)]


def _first_failed(key: str, values: Mapping[str, Mapping[str, float | None]]) -> str:
    failed = (check for check in CHECKS if (v := values[check].get(key)) is None or v < LEAST)
    return next(failed, "")


def _chips(key: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Chip]:
    """A verdict a check, and what was measured: a value for each reference, in order."""
    for check in CHECKS:
        own = [row for row in rows[check] if row["key"] == key]
        fails = any(row["expected"] is None or row["expected"] < LEAST for row in own)
        told = " · ".join(value_words(row) for row in own)
        name = check.removeprefix("check_")
        yield Chip(question=f"{'✗' if fails else '✓'} {name}", words=told, fails=fails)
    if measured := [value_words(row) for row in rows[LIKENESS] if row["key"] == key]:
        yield Chip(question=f"≈ {LIKENESS}", words=" · ".join(measured), fails=False)


def _heldout(step: Input) -> Mapping[str, Any] | None:
    """The vendored table, if it is of the very judge that verified."""
    settings = step.manifest.config.get("settings")
    if not TABLE.exists() or not isinstance(settings, Mapping):
        return None
    found: Mapping[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found if settings.get("judge") == found["judge"] else None


def checks_alone(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Of a verified set, the checks, their least first: a question that should be yes of one candidate and no
    of another has no good side."""
    return {name: scores[name] for name in (ALL, *CHECKS)} if ALL in scores else dict(scores)
