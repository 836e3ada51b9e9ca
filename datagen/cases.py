"""Cases: which kinds of subject a sample combines, in SconeEval's names."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

CASES: Mapping[str, tuple[str, ...]] = {
    name: tuple(name.split("+"))
    for name in (
        "character",
        "object",
        "character+object",
        "character+scene",
        "object+scene",
        "character+object+scene",
    )
}
"""Each case and its kinds. With n references: a scene is one of them, the other kinds share the rest, each
at least one. Source: Scone (arXiv 2512.12675), section 4.2 and supplement B.1."""


def is_possible(case: str, references: int) -> bool:
    """Whether `references` images can show every kind of `case`.

    >>> is_possible("character+scene", 1), is_possible("character", 4)
    (False, True)
    """
    return len(CASES[case]) <= references


def kinds_of(random: Random, case: str, references: int) -> tuple[str, ...]:
    """The kind of each reference, in the order of the images; a scene comes last three times of four.

    >>> kinds_of(Random(0), "object+scene", 3)
    ('object', 'object', 'scene')
    """
    placed = [kind for kind in CASES[case] if kind != "scene"]
    scenes = len(CASES[case]) - len(placed)
    kinds = placed + random.choices(placed, k=references - scenes - len(placed))
    random.shuffle(kinds)
    for _ in range(scenes):
        kinds.insert(len(kinds) if random.random() < 0.75 else random.randrange(len(kinds)), "scene")
    return tuple(kinds)
