"""Remaking: the recipe that finished directories came from, written again from their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from filters.lineage import Lineage
from shards.manifest import Manifest

# What steps add to their settings so that their hashes cover it; a recipe does not set it.
DERIVED = (
    "rubric",
    "judge",
    "judge_version",
    "identity",
    "ideas",
    "prompts",
    "editing",
    "listing",
    "likeness",
)


def recipe_text(lineage: Lineage) -> str:
    """A recipe in YAML whose steps have the hashes of these directories, where the code is the same."""
    steps = {lineage.labels[name]: _step(lineage, step.manifest) for name, step in lineage.steps.items()}
    shared = [step.manifest.run for step in lineage.steps.values() if step.manifest.run]
    run = {"run": dict(shared[0])} if shared and all(each == shared[0] for each in shared) else {}
    value = {"name": "remade", **{key: _without_none(found) for key, found in run.items()}, "steps": steps}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _step(lineage: Lineage, manifest: Manifest) -> dict[str, Any]:
    inputs = {
        role: [lineage.labels[parent] for parent in parents] for role, parents in manifest.parents.items()
    }
    settings = manifest.config.get("settings")
    own = dict(settings) if isinstance(settings, Mapping) else {}
    shard_size = {"shard_size": manifest.config["shard_size"]} if "shard_size" in manifest.config else {}
    return {
        "step": manifest.type,
        **{role: names[0] if len(names) == 1 else names for role, names in inputs.items()},
        **_without_none({key: value for key, value in own.items() if key not in DERIVED}),
        **shard_size,
    }


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found for key, found in value.items() if found is not None}


def limit_of(lineage: Lineage) -> int | None:
    """`--limit` of the run that made the samples; None where there was none."""
    found = {step.manifest.config.get("limit") for _, step in lineage.of_kind("samples")}
    (limit,) = found if len(found) == 1 else (None,)
    return limit if isinstance(limit, int) else None


def command(lineage: Lineage) -> str:
    """The command that makes the directories again from `recipe_text`, saved as remade.yaml."""
    limit = limit_of(lineage)
    return f"bakery run remade.yaml --out OUT{f' --limit {limit}' if limit else ''}"
