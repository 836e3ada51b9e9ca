"""What a step is: the hash over all that it computes from, and how two of them differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from recipes.schema import Recipe, Step
from shards.index import FORMAT
from shards.manifest import directory_name
from shards.sample import Json, canonical_json

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


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
    if step.is_of_workers:
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
        parents = {role: [found[n] for n in names] for role, names in step.inputs.items()}
        try:
            found[name] = step_hash(step, parents)
        except ValueError as error:  # a source that is not there, or not what it should be
            error.add_note(f"in {recipe.path}: steps.{name}")
            raise
    return found


def directories(recipe: Recipe) -> dict[str, str]:
    """The directory of every step of a recipe, by name."""
    return {name: directory_name(name, digest) for name, digest in hashes(recipe).items()}


def differences(old: Json, new: Json, path: str = "") -> Iterator[str]:
    """What differs between two settings, a line each; a digest is told by its first digits.

    >>> list(differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "d": 4}))
    ['a.b: 1 -> 3', 'c: 2 -> (none)', 'd: (none) -> 4']
    >>> list(differences([["presence", "0" * 64]], [["presence", "1" * 64]], "rubric"))
    ["rubric.presence: '000000000000' -> '111111111111'"]
    """
    before, after = _by_name(old), _by_name(new)
    if before is None or after is None:
        if old != new:
            yield f"{path}: {_short(old)} -> {_short(new)}"
        return
    for name in sorted({*before, *after}):
        place = f"{path}.{name}" if path else name
        if name not in after:
            yield f"{place}: {_short(before[name])} -> (none)"
        elif name not in before:
            yield f"{place}: (none) -> {_short(after[name])}"
        else:
            yield from differences(before[name], after[name], place)
    if before == after and old != new:
        yield f"{path}: {', '.join(before)} -> {', '.join(after)}"


def _by_name(value: Json) -> Mapping[str, Json] | None:
    """A mapping, or the same written as pairs where order counts."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list | tuple) or not value:
        return None
    pairs = [each for each in value if _is_pair(each)]
    return {str(name): each for name, each in pairs} if len(pairs) == len(value) else None


def _is_pair(value: Json) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)


def _short(value: Json) -> str:
    return DIGEST.sub(lambda found: found[0][:12], repr(value))
