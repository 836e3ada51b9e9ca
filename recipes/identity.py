"""What a step is: the hash over all that it computes from, and how two of them differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from recipes.schema import Recipe, Step
from shards.index import FORMAT
from shards.manifest import directory_name
from shards.sample import Json, canonical_json


def version_of(step: Step) -> int:
    """The version of the code that computes a step, raised with every change of its results."""
    return step.settings.VERSION


def computed(step: Step) -> dict[str, Json]:
    """All of a step that decides its bytes but for its inputs; a `run` setting is none of it."""
    value: dict[str, Json] = {
        "type": step.type,
        "version": version_of(step),
        "settings": step.settings.computed(),
        "limit": step.limit,
    }
    if step.step_type.kind in ("samples", "scores"):
        value["shard_size"] = step.shard_size
    if step.step_type.kind == "samples":
        value["index"] = FORMAT
    return value


def content(step: Step) -> dict[str, Json]:
    """All of a step that decides a planned sample but for what it is made from."""
    return {"type": step.type, "version": version_of(step), "settings": step.settings.content()}


def step_hash(step: Step, parents: Mapping[str, Sequence[str]]) -> str:
    """The hash of a step whose inputs, by role, have these hashes."""
    inputs: dict[str, Json] = {role: list(hashes) for role, hashes in parents.items()}
    return hashlib.sha256(canonical_json({**computed(step), "inputs": inputs})).hexdigest()


def hashes(recipe: Recipe) -> dict[str, str]:
    """The hash of every step of a recipe, by name."""
    found: dict[str, str] = {}
    for name, step in recipe.steps.items():
        found[name] = step_hash(
            step, {role: [found[n] for n in names] for role, names in step.inputs.items()}
        )
    return found


def directories(recipe: Recipe) -> dict[str, str]:
    """The directory of every step of a recipe, by name."""
    return {name: directory_name(name, digest) for name, digest in hashes(recipe).items()}


def differences(old: Json, new: Json, path: str = "") -> Iterator[str]:
    """What differs between two settings, a line each.

    >>> list(differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "d": 4}))
    ['a.b: 1 -> 3', 'c: 2 -> (none)', 'd: (none) -> 4']
    """
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield f"{path}: {old!r} -> {new!r}"
        return
    for name in sorted({*old, *new}):
        place = f"{path}.{name}" if path else name
        if name not in new:
            yield f"{place}: {old[name]!r} -> (none)"
        elif name not in old:
            yield f"{place}: (none) -> {new[name]!r}"
        else:
            yield from differences(old[name], new[name], place)
