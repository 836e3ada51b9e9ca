"""Filling up an exact selection: more is planned, by the yield so far; what exists is used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filters.shortfall import Group, ShortfallError, enough
from recipes.schema import Recipe, RecipeError, Step, load_recipe
from shards.manifest import Manifest

ROUNDS = 5  # a yield from few samples is a poor estimate; one that stays short has another cause

Execute = Callable[[Recipe], Mapping[str, Manifest]]


class TopupError(ValueError):
    """A selection that more samples do not fill: *where: expected what, got what; the way out*."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """An exact selection that has what it wants.

    Attributes:
        manifests: of the steps that are finished.
        change: the setting that made it so, as `--set` takes it; "" where nothing was short.
    """

    manifests: Mapping[str, Manifest]
    change: str


def fill(path: Path, changes: Sequence[str], name: str, execute: Execute) -> Filled:
    """Make a recipe up to an exact selection, with more planned as often as it falls short.

    A longer plan holds what the shorter one did: samples that exist are copied, paid replies are not asked.

    Args:
        path: of the recipe.
        changes: to its settings.
        name: of the selection.
        execute: makes a recipe up to it.

    Raises:
        RecipeError: the step is no exact selection, or no step before it says how many there are.
        TopupError: more samples do not fill it.
    """
    recipe = load_recipe(path, changes)
    maker = maker_of(recipe, name)
    planned, change, before = _samples(maker), "", dict[str, int]()
    for _ in range(ROUNDS):
        try:
            return Filled(manifests=execute(recipe), change=change)
        except ShortfallError as error:
            short = error.groups
        if all(group.read <= before.get(group.name, -1) for group in short):
            raise TopupError(
                f"{name}: expected more samples of {change}, got no more than before: {_told(short)}; the "
                f"inputs of {maker.name} do not reach: make more of them"
            )
        before = {group.name: group.read for group in short}
        planned = enough(planned, short)
        change = f"{maker.name}.samples={planned}"
        recipe = load_recipe(path, [*changes, change])
    raise TopupError(
        f"{name}: expected to be filled in {ROUNDS} rounds, the last with {change}, got {_told(short)}; see "
        "in `bakery report` why so few are good"
    )


def maker_of(recipe: Recipe, name: str) -> Step:
    """The step whose `samples` decides how many there are for a selection to read."""
    if not getattr(recipe.steps[name].settings, "exact", False):
        exact = [step.name for step in recipe.steps.values() if getattr(step.settings, "exact", False)]
        known = ", ".join(exact) or "there is none; say `exact: true` in a select step"
        raise RecipeError(
            [f"{recipe.path}: steps.{name}: expected an exact selection, got none; known: {known}"]
        )
    at = recipe.steps[name]
    while "samples" not in type(at.settings).model_fields:
        inputs = at.inputs.get("input", ())
        if len(inputs) != 1:
            what = f"a step with `samples` before {name}, got {at.name}, which is {at.type}"
            raise RecipeError([f"{recipe.path}: steps.{name}: expected {what}; make more by hand"])
        at = recipe.steps[inputs[0]]
    return at


def _samples(step: Step) -> int:
    samples: int = getattr(step.settings, "samples")  # noqa: B009, which `maker_of` looked for
    return samples


def _told(groups: Sequence[Group]) -> str:
    return "; ".join(group.told for group in groups)
