"""Which parameters belong together: each parameter by its name in exactly one group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
    """One line of the table of what trains."""

    group: str
    is_trained: bool
    tensors: int
    parameters: int


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


def training_table(sizes: Mapping[str, int], trains: Iterable[str], layers: int) -> list[TrainingRow]:
    """What trains of a model, by group.

    Args:
        sizes: numbers in each parameter, by name.
        trains: the groups that train.
        layers: of the language model.

    Raises:
        ConfigError: nothing would train.
    """
    wanted, names = set(trains), {name: group_of(name, layers) for name in sizes}
    rows = [
        TrainingRow(
            group=group,
            is_trained=group in wanted,
            tensors=sum(found == group for found in names.values()),
            parameters=sum(sizes[name] for name, found in names.items() if found == group),
        )
        for group in GROUPS
    ]
    if not sum(row.parameters for row in rows if row.is_trained):
        raise ConfigError(
            f"trains: expected groups with parameters, got {sorted(wanted)!r}; nothing would change"
        )
    return rows


def table_text(rows: Sequence[TrainingRow]) -> str:
    """The table as printed at the start of a stage."""
    lines = [f"{'group':20} {'trains':8} {'tensors':>8} {'parameters':>16}"]
    lines += [
        f"{row.group:20} {'yes' if row.is_trained else 'frozen':8} {row.tensors:8} {row.parameters:16,}"
        for row in rows
    ]
    trained = sum(row.parameters for row in rows if row.is_trained)
    return "\n".join([*lines, f"{'trained':29} {'':8}{trained:16,}"])
