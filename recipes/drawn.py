"""Drawn sets in a recipe: those that a training would read, those that others' scores would measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipes.schema import Recipe, Step

TRAIN, SELECT, EVALUATE = "train", "select", "evaluate"
DRAW, BENCHMARK = "draw", "draw_benchmark"


def benchmarks_trained_on(step: Step, steps: Mapping[str, Step]) -> Iterator[str]:
    """What is wrong with a training's inputs, where any holds cases of a benchmark."""
    for role, name, source in _drawn(step, steps, BENCHMARK):
        yield (
            f"{role}: expected a set to train on, got {name!r}, which holds the benchmark's cases that "
            f"{source!r} draws: what a model was trained on cannot measure it; leave it out"
        )


def cautions(recipe: Recipe) -> Iterator[str]:
    """What `bakery check` tells of trainings whose targets are a model's pictures."""
    for step in recipe.steps.values():
        for role, name, source in _drawn(step, recipe.steps, DRAW):
            yield (
                f"{step.name}: {role}: the targets of {name!r} are what the model of {source!r} drew; "
                "meant for judging that model, and trained on only if you want its pictures again"
            )


def scored_elsewhere(step: Step, steps: Mapping[str, Step]) -> Iterator[str]:
    """Scores of other pictures, told before they are paid: what is drawn for a set has the set's keys.

    A selection may read scores of what its samples were copied from, as long as they are the same pictures.
    """
    if step.type not in (EVALUATE, SELECT):
        return
    wanted = _samples_of(next(iter(step.inputs.get("input", ())), ""), steps)
    for name in step.inputs.get("scores", ()):
        found = _samples_of(name, steps)
        if not found or not wanted or found == wanted:
            continue
        if step.type == EVALUATE or _drawn_by(found, steps) != _drawn_by(wanted, steps):
            told = f"expected scores of {wanted!r}, got {name!r}, of {found!r}"
            yield f"scores: {told}; judge what is {'evaluated' if step.type == EVALUATE else 'selected from'}"


def _drawn_by(name: str, steps: Mapping[str, Step]) -> set[str]:
    """The steps whose models drew some of a set's pictures anew."""
    return {source for source in _sources(name, steps) if steps[source].type in (DRAW, BENCHMARK)}


def _samples_of(name: str, steps: Mapping[str, Step]) -> str | None:
    """The step whose samples scores or selections are of; None in a recipe with faults."""
    passed = set[str]()
    while name in steps and name not in passed and steps[name].step_type.kind != "samples":
        passed.add(name)
        name = next(iter(steps[name].inputs.get("input", ())), "")
    return name if name in steps and name not in passed else None


def _drawn(step: Step, steps: Mapping[str, Step], kind: str) -> Iterator[tuple[str, str, str]]:
    """(role, input, step of that kind whose samples come with it) of a training."""
    if step.type != TRAIN:
        return
    for role, names in step.inputs.items():
        for name in names:
            yield from (
                (role, name, source) for source in _sources(name, steps) if steps[source].type == kind
            )


def _sources(name: str, steps: Mapping[str, Step]) -> list[str]:
    """A step and all those that its samples come from, near ones first; of a recipe with faults too."""
    found = [name] if name in steps else []
    for each in found:
        found += [read for read in steps[each].inputs.get("input", ()) if read in steps and read not in found]
    return found
