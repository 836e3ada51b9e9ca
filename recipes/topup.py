"""`bakery topup`: plans as many more samples as a selection's yield asks for, and makes those alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from filters.select import SelectConfig, Shortfall, shortfalls
from recipes.identity import directories
from recipes.schema import Recipe, RecipeError, Step
from shards.driver_step import Input
from shards.manifest import read_manifest
from shards.storage import Storage

MARGIN = 1.1  # above what the yield asks for: yields of a few samples are noisy
MOST_AT_ONCE = 8.0  # times what is planned: a group that nearly none passes is no matter of planning more


@dataclass(frozen=True, kw_only=True)
class Raise:
    """A builder of which more is planned, and what it fell short of."""

    step: str
    before: int
    after: int
    short: tuple[Shortfall, ...]


def topup_words(recipe: Recipe, out: Storage, name: str) -> str:
    """The command that fills up a selection."""
    words = ["bakery", "topup", str(recipe.path), name]
    words += [] if out.uri == f"out/{recipe.name}" else ["--out", out.uri]
    words += [word for change in recipe.changes for word in ("--set", change)]
    return f"to fill it up, using again all that is there: {shlex.join(words)}"


def missing(recipe: Recipe, out: Storage, name: str) -> tuple[Shortfall, ...]:
    """What a selection falls short of; what it reads must be finished.

    Raises:
        RecipeError: it is no selection of exact counts, or what it reads is not finished.
    """
    step = recipe.steps.get(name)
    if step is None or not isinstance(step.settings, SelectConfig) or not step.settings.best:
        known = [
            s.name for s in recipe.steps.values() if isinstance(s.settings, SelectConfig) and s.settings.best
        ]
        told = ", ".join(known) or "none"
        raise RecipeError([f"{recipe.path}: expected a select step with `best`, of {told}, got {name!r}"])
    names = directories(recipe)
    inputs = {role: [_input(out, names[each]) for each in read] for role, read in step.inputs.items()}
    samples, table = step.settings.decide(inputs)
    return tuple(shortfalls(samples, table, step.settings))


def _input(out: Storage, name: str) -> Input:
    storage = out.child(name)
    manifest = read_manifest(storage)
    if manifest is None:
        raise RecipeError([f"{storage.uri}: expected a finished step, got none; `bakery run` makes it first"])
    return Input(storage=storage, manifest=manifest)


def raises(recipe: Recipe, out: Storage, name: str, short: Sequence[Shortfall]) -> list[Raise]:
    """The builders to plan more of: the one whose samples are selected, and those before it whose samples ran
    out.

    Raises:
        RecipeError: no one builder makes what is selected.
    """
    factor = max(_factor(each) for each in short)
    found = []
    for step in _builders(recipe, recipe.steps[name]):
        before = int(step.settings.samples)  # type: ignore[attr-defined]
        planned = _planned(recipe, out, step)
        found.append(
            Raise(step=step.name, before=before, after=math.ceil(before * factor), short=tuple(short))
        )
        if planned >= before:
            break
    return found


def _factor(short: Shortfall) -> float:
    """How many times what is planned now would fill a group."""
    return min(MARGIN * short.wanted / short.kept, MOST_AT_ONCE) if short.kept else MOST_AT_ONCE


def _planned(recipe: Recipe, out: Storage, step: Step) -> int:
    return _input(out, directories(recipe)[step.name]).manifest.books.planned


def _builders(recipe: Recipe, step: Step) -> Iterator[Step]:
    """Steps with a number of samples, from the nearest on."""
    while names := step.inputs.get("input", ()):
        if len(names) != 1:
            where = f"{recipe.path}: steps.{step.name}.input"
            raise RecipeError([f"{where}: expected one step to plan more of, got {', '.join(names)}"])
        step = recipe.steps[names[0]]
        if "samples" in type(step.settings).model_fields:
            yield step
    if "samples" not in type(step.settings).model_fields:
        raise RecipeError(
            [f"{recipe.path}: steps.{step.name}: expected a builder with `samples`, got a step {step.type}"]
        )


def write_samples(path: Path, raised: Sequence[Raise]) -> None:
    """Write the new numbers into a recipe, whole or not at all; every other byte of it stays.

    Raises:
        RecipeError: a number is not written there.
    """
    text = path.read_bytes().decode()
    for each in raised:
        start, end = _place(path, text, each.step)
        text = f"{text[:start]}{each.after}{text[end:]}"
    whole = path.resolve()  # a link stays one
    new = whole.with_name(f".{whole.name}.new")
    new.write_bytes(text.encode())
    new.chmod(whole.stat().st_mode)
    new.replace(whole)


def without(changes: Sequence[str], raised: Sequence[Raise]) -> list[str]:
    """Changes as by --set, but for the numbers that were raised: those are the recipe's now.

    >>> without(["base.samples=9", "base.size_px=64"], [Raise(step="base", before=9, after=12, short=())])
    ['base.size_px=64']
    """
    numbers = {f"{each.step}.samples" for each in raised}
    return [
        change for change in changes if change.partition("=")[0].strip().removeprefix("steps.") not in numbers
    ]


def _place(path: Path, text: str, step: str) -> tuple[int, int]:
    """From where to where a builder's number of samples is written."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in ("steps", step, "samples"):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in pairs if key.value == name), None)
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError(
            [f"{path}: steps.{step}.samples: expected a number to raise, got none written there"]
        )
    return node.start_mark.index, node.end_mark.index


def upstream(recipe: Recipe, name: str) -> list[str]:
    """A step and all that it reads, at any remove, in the recipe's order."""
    wanted = {name}
    for each in reversed(list(recipe.steps.values())):
        if each.name in wanted:
            wanted.update(each.reads)
    return [each for each in recipe.steps if each in wanted]
