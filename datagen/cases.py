"""Cases: which kinds of subject a sample combines, in SconeEval's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

_C, _O, _S = "character", "object", "scene"
MULTI_INPUT_CASES: Mapping[str, tuple[str, ...]] = {
    "+".join(kinds): kinds
    for kinds in (
        (_C, _C, _O),
        (_C, _O, _O),
        (_C, _C, _S),
        (_O, _O, _S),
        *((_C,) * (4 - objects) + (_O,) * objects for objects in range(5)),
        *((_C,) * (3 - objects) + (_O,) * objects + (_S,) for objects in range(4)),
    )
}
"""The case types of 3 and 4 inputs. Source: Scone, section 5.1 and supplement B.1. It names the four of 3
inputs and says that there are nine of 4: just as many combinations have at most one scene."""


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
        kinds.insert(_scene_place(random, len(kinds)), "scene")
    return tuple(kinds)


def shuffled(random: Random, kinds: Sequence[str]) -> tuple[str, ...]:
    """`kinds` in the order of the images; a scene comes last three times of four.

    >>> shuffled(Random(2), ("character", "object", "scene"))
    ('object', 'character', 'scene')
    """
    placed = [kind for kind in kinds if kind != "scene"]
    random.shuffle(placed)
    for _ in range(len(kinds) - len(placed)):
        placed.insert(_scene_place(random, len(placed)), "scene")
    return tuple(placed)


def _scene_place(random: Random, others: int) -> int:
    return others if random.random() < 0.75 else random.randrange(others)
