"""What a report shows of benchmarks: evaluations side by side, and their worst, middling and best cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from filters.benchmarks import COMPOSITION, MEASURES, SHOWN, Picture
from filters.comparison import Comparison, comparisons
from filters.decisions import short_hash
from filters.drawn_cases import DRAWN
from filters.evaluated import Evaluated, is_evaluated, read_evaluated
from filters.gallery import Card, Chip, Gallery, cards
from filters.lineage import Lineage, LineageError
from filters.reasons import Reasons
from shards.index import Directory

TENTH = 10  # a look is drawn from so small a part of the cases
CHIPS = (*MEASURES[:2], COMPOSITION, SHOWN)
LOOKS = {"Worst": "lowest scored", "Middling": "in the middle", "Best": "highest scored"}


@dataclass(frozen=True, kw_only=True)
class Benchmarked:
    """Evaluations of one benchmark with what there is to look at."""

    comparison: Comparison
    looks: list[Gallery]


def evaluations(lineage: Lineage, base: str = "") -> dict[str, Evaluated]:
    """Every evaluation by the name of its directory, that of the step `base` before the others.

    Raises:
        LineageError: there is no such evaluation.
    """
    found = [name for name, step in lineage.of_kind("scores") if is_evaluated(step.storage)]
    labels = [lineage.labels[name] for name in found]
    if base and base not in labels:
        known = ", ".join(labels) or "none"
        raise LineageError(f"report: base: expected a step `evaluate` on the page ({known}), got {base!r}")
    found.sort(key=lambda name: lineage.labels[name] != base)
    return {name: read_evaluated(lineage.steps[name].storage) for name in found}


def benchmarked(
    lineage: Lineage, found: dict[str, Evaluated], open_: Callable[[str], Directory], most: int
) -> list[Benchmarked]:
    """The benchmarks of a lineage.

    Args:
        lineage: of the page.
        found: its evaluations, by directory.
        open_: opens a directory of samples by its name.
        most: cards in each look.
    """
    names = {lineage.labels[name]: name for name in found}
    return [
        Benchmarked(
            comparison=each,
            looks=[
                look
                for label, evaluated in each.evaluations.items()
                for look in _looks(lineage, names[label], evaluated, open_, most)
                if look.cards
            ],
        )
        for each in comparisons({lineage.labels[name]: evaluated for name, evaluated in found.items()})
    ]


def _looks(
    lineage: Lineage, name: str, evaluated: Evaluated, open_: Callable[[str], Directory], most: int
) -> Iterator[Gallery]:
    samples = lineage.samples_of(name)
    reasons = Reasons([lineage.steps[judge] for judge in lineage.parents(name, "scores")])
    scored = evaluated.coverage.scored
    is_drawn = lineage.steps[samples].manifest.type in DRAWN
    for heading, pictures, size in pick(evaluated, most):
        shown = cards(open_(samples), [picture.key for picture in pictures], written=reasons)
        yield Gallery(
            heading=f"{heading}: {lineage.labels[name]}".replace("_", " "),
            note=f"of the {size:,} {LOOKS[heading]} of {scored:,} cases, drawn by a hash of their keys",
            cards=[_card(card, picture, is_drawn) for card, picture in zip(shown, pictures, strict=True)],
        )


def pick(evaluated: Evaluated, most: int) -> list[tuple[str, list[Picture], int]]:
    """Cases to look at, each by its first picture: of the lowest tenth by score, the highest, and the middle.

    A case's score is that with which it counts in Overall; no case is shown twice.
    """
    places = _by_score(evaluated)
    size = max(most, -(-len(places) // TENTH))
    middle = max(0, (len(places) - size) // 2)
    pools = {"Worst": places[:size], "Best": places[-size:], "Middling": places[middle : middle + size]}
    taken: set[tuple[str, str]] = set()
    drawn: dict[str, list[tuple[str, str]]] = {}
    for heading, pool in pools.items():
        left = sorted((place for place in pool if place not in taken), key=lambda place: short_hash(place[1]))
        drawn[heading] = sorted(left[:most], key=places.index)
        taken |= set(drawn[heading])
    first = _first_pictures(evaluated.pictures)
    return [(look, [first[place] for place in drawn[look]], len(pools[look])) for look in LOOKS]


def _by_score(evaluated: Evaluated) -> list[tuple[str, str]]:
    """Places of the cases that were scored, the worst first; ties by a hash of their keys."""
    cases = evaluated.cases
    parts = np.stack([cases.values[COMPOSITION], cases.values[SHOWN]])
    is_scored = np.isfinite(parts[0])
    scores = np.where(np.isfinite(parts[1]), parts.mean(axis=0), parts[0])
    found = [n for n in range(len(cases.places)) if is_scored[n]]
    order = sorted(found, key=lambda n: (scores[n], short_hash(cases.places[n][1])))
    return [cases.places[n] for n in order]


def _first_pictures(pictures: Sequence[Picture]) -> dict[tuple[str, str], Picture]:
    """Of each case the first picture by key that has a score."""
    scored = sorted((p for p in pictures if COMPOSITION in p.scores), key=lambda p: p.key, reverse=True)
    return {(picture.subtask, picture.case): picture for picture in scored}


def _card(card: Card, picture: Picture, is_drawn: bool) -> Card:
    chips = [
        Chip(question=name, words=f"{picture.scores[name]:.2f}", fails=False)
        for name in CHIPS
        if name in picture.scores
    ]
    if picture.shown:
        told = " · ".join("yes" if shown else "no" for shown in picture.shown)
        chips.append(Chip(question="shows its candidates", words=told, fails=False))
    target = replace(card.target, name="drawn") if is_drawn else card.target
    return replace(card, chips=tuple(chips), target=target)
