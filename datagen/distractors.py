"""Distractors: subjects to add beside a chosen one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

from datagen.catalogue import Catalogue, Subject
from datagen.claims import are_apart
from datagen.phrases import colours_differ, shared_noun
from datagen.variants import Relation

LOOKALIKE_SHARE = (
    0.4  # of intra-category distractors: a sibling in another colour, or a twin in another design
)
OTHER_COLOUR_SHARE = 0.6  # of the rest: one of a clearly other colour where there is one
MAX_TRIES = 5


def draw_distractors(
    random: Random, catalogue: Catalogue, subject: Subject, relation: Relation, avoid: Sequence[Subject]
) -> Iterator[Subject]:
    """A few subjects of the relation to `subject`, each apart from all of `avoid`, the best first."""
    found = _cross(random, catalogue, subject) if relation == "cross" else _intra(random, catalogue, subject)
    return islice((s for s in found if all(are_apart(s, other) for other in avoid)), MAX_TRIES)


def _cross(random: Random, catalogue: Catalogue, subject: Subject) -> Iterator[Subject]:
    for other in random.sample(catalogue.subjects, len(catalogue)):
        is_other_category = other.category != subject.category and other.kind != "scene"
        if is_other_category and are_apart(other, subject) and not shared_noun(other, subject):
            yield other


def _intra(random: Random, catalogue: Catalogue, subject: Subject) -> Iterator[Subject]:
    twin = catalogue.twin(subject)
    lookalikes = [*catalogue.colour_siblings(subject), *([twin] if twin else [])]
    if lookalikes and random.random() < LOOKALIKE_SHARE:
        yield random.choice(lookalikes)
    pool = catalogue.of_category(subject.category)
    shuffled = random.sample(pool, len(pool))
    if random.random() < OTHER_COLOUR_SHARE:
        shuffled.sort(key=lambda other: not colours_differ(_colour(subject), _colour(other)))
    for other in shuffled:
        if other.kind == subject.kind and are_apart(other, subject) and shared_noun(subject, other):
            yield other
    yield from lookalikes


def _colour(subject: Subject) -> str:
    return subject.attributes.get("colour", "")
