"""Which parameters belong together: each parameter by its name in exactly one group."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from train.config import ConfigError

GROUPS = (
    "und_layers",
    "gen_layers",
    "embed_tokens",
    "connector",
    "latent_projections",
    "time_embedder",
    "vit",
    "unreached",
)
# Everything that the paper calls the understanding and the generation expert, with their ways in and out.
UND = ("und_layers", "embed_tokens", "connector")
GEN = ("gen_layers", "latent_projections", "time_embedder")

ADAPTER = ".lora_"  # in the names of adapters, which no base model has

_LAYER = re.compile(r"language_model\.model\.layers\.(\d+)\.(.+)")
_BY_PREFIX = {
    "language_model.lm_head.": "unreached",
    "language_model.model.norm.": "unreached",
    "language_model.model.norm_moe_gen.": "gen_layers",
    "language_model.model.embed_tokens.": "embed_tokens",
    "connector.": "connector",
    "vae2llm.": "latent_projections",
    "llm2vae.": "latent_projections",
    "time_embedder.": "time_embedder",
    "vit_model.": "vit",
}
# What of the last layer's understanding expert still reaches targets: keys and values.
_LAST_REACHED = ("input_layernorm.", "self_attn.k_proj.", "self_attn.v_proj.", "self_attn.k_norm.")


def group_of(name: str, layers: int) -> str:
    """The group of a parameter of a model with so many layers.

    `unreached` are those that no image loss reaches: the text head, the final norm of understanding rows,
    and all of the last layer's understanding expert but keys and values. They never train.

    >>> group_of("language_model.model.layers.3.mlp_moe_gen.up_proj.weight", 28)
    'gen_layers'
    >>> group_of("language_model.model.layers.27.mlp.up_proj.weight", 28)
    'unreached'

    Raises:
        ConfigError: the name is no parameter of the model.
    """
    layer = _LAYER.fullmatch(name)
    if layer is None:
        for prefix, group in _BY_PREFIX.items():
            if name.startswith(prefix):
                return group
        raise ConfigError(
            f"parameter {name!r}: expected a name of the released model; add it to train/groups.py"
        )
    if "_moe_gen" in name:
        return "gen_layers"
    is_last = int(layer[1]) == layers - 1
    return "unreached" if is_last and not layer[2].startswith(_LAST_REACHED) else "und_layers"


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """One line of the table of what trains: a group's tensors, its numbers that train and that do not."""

    group: str
    tensors: int
    trained: int
    frozen: int


def check_groups(where: str, trains: Sequence[str]) -> list[str]:
    """What is wrong with a stage's list of groups."""
    found = [
        f"{where}: expected groups of {', '.join(GROUPS[:-1])}, got {name!r}"
        for name in trains
        if name not in GROUPS[:-1]
    ]
    if not trains:
        found.append(f"{where}: expected at least one group to train, got none; nothing would change")
    return found


def training_table(sizes: Mapping[str, int], trained: Collection[str], layers: int) -> list[TrainingRow]:
    """What trains of a model, by group.

    Args:
        sizes: numbers in each parameter, by name.
        trained: names of those that train.
        layers: of the language model.

    Raises:
        ConfigError: nothing would train.
    """
    if not sum(sizes[name] for name in trained):
        raise ConfigError(
            "trains: expected groups with parameters, got none that trains; nothing would change"
        )
    by_group: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in sizes:
        by_group[group_of(name, layers)].append(name)
    return [
        TrainingRow(
            group=group,
            tensors=len(names),
            trained=sum(sizes[name] for name in names if name in trained),
            frozen=sum(sizes[name] for name in names if name not in trained),
        )
        for group, names in by_group.items()
    ]


def trained_names(names: Iterable[str], trains: Collection[str], layers: int, *, is_lora: bool) -> set[str]:
    """Which parameters a stage trains; with adapters, nothing else does."""
    return {name for name in names if group_of(name, layers) in trains and (not is_lora or ADAPTER in name)}


def line_text(rows: Sequence[TrainingRow]) -> str:
    """The table in one line, for a model whose groups nobody tunes.

    >>> rows = [TrainingRow(group="vit", tensors=1, trained=0, frozen=1000)]
    >>> line_text([*rows, TrainingRow(group="und_layers", tensors=2, trained=3000, frozen=0)])
    'trains 3,000 of 4,000 weights: und_layers'
    """
    trained, frozen = (sum(getattr(row, name) for row in rows) for name in ("trained", "frozen"))
    names = ", ".join(row.group for row in rows if row.trained)
    return f"trains {trained:,} of {trained + frozen:,} weights: {names}"


def table_text(rows: Sequence[TrainingRow]) -> str:
    """The table as printed at the start of a stage."""
    lines = [f"{'group':20} {'tensors':>8} {'trained':>16} {'frozen':>16}"]
    lines += [f"{row.group:20} {row.tensors:8} {row.trained:16,} {row.frozen:16,}" for row in rows]
    total = [sum(getattr(row, name) for row in rows) for name in ("tensors", "trained", "frozen")]
    return "\n".join([*lines, f"{'all':20} {total[0]:8} {total[1]:16,} {total[2]:16,}"])
