"""A stage's model, made without ever being whole in one process's memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from train.checkpointing import Checkpointing
from train.config import ModelConfig
from train.lora import add_adapters, reset_adapters
from train.model import Bagel
from train.optimizer import freeze, narrow_frozen
from train.parallel import World, shard
from train.pretrained import build_meta, materialize
from train.weights import load_file_into, weight_file

if TYPE_CHECKING:  # `train.gpu_checks` runs where pydantic is not installed
    from train.settings import TrainSettings
    from train.stages import Stage

FLEX_BLOCK = 128
# Compiled graphs of a stage: first, last, bridged and other layers, with gradients and without. Past torch's
# own limit of 8 (nine were counted over the four stages) a layer runs uncompiled; only a warning says so.
GRAPHS = 32


def compute_dtype(settings: TrainSettings, world: World) -> torch.dtype:
    """What is multiplied in: bfloat16 on GPUs if so set; CPUs always compute in float32."""
    is_narrow = settings.precision == "bfloat16" and world.device.type == "cuda"
    return torch.bfloat16 if is_narrow else torch.float32


def flex_block(device: torch.device) -> int | None:
    """Rows of a flex attention block; None on CPUs, which have no flex backward pass and use dense masks."""
    return FLEX_BLOCK if device.type == "cuda" else None


def build_model(
    settings: TrainSettings,
    stage: Stage,
    base: Path,
    config: ModelConfig,
    world: World,
    compute: torch.dtype,
) -> tuple[Bagel, dict[str, nn.Parameter]]:
    """The base model on this rank's device, its shards only, and the parameters that train, by name."""
    layers = config.language.layers
    model = build_meta(config)
    if settings.lora is not None:
        add_adapters(model, set(stage.trains), layers, settings.lora.rank, settings.lora.alpha)
    freeze(model, stage.trains, layers, is_lora=settings.lora is not None)
    narrow_frozen(model, compute)
    _prepare_layers(model, settings, world)
    shard(model, world, compute)
    materialize(model, world.device)
    load_file_into(model, weight_file(base))
    reset_adapters(model, settings.seed)
    return model, freeze(model, stage.trains, layers, is_lora=settings.lora is not None)


def _prepare_layers(model: Bagel, settings: TrainSettings, world: World) -> None:
    is_compiled = world.device.type == "cuda" if settings.is_compiled is None else settings.is_compiled
    if is_compiled:
        allow_graphs()
    for layer in model.language_model.model.layers:
        layer.checkpointing = Checkpointing(settings.checkpointing)
        if is_compiled:
            # All layers are alike, so one compiled graph serves them; row counts differ from pack to pack.
            layer.compile(dynamic=True)


def allow_graphs() -> None:
    """Let torch compile the layers' code as often as a stage needs."""
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
