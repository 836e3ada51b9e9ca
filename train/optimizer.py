"""AdamW over the weights that train, its state made before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from train.groups import trained_names
from train.stages import Stage


def freeze(
    model: nn.Module, trains: tuple[str, ...], layers: int, *, is_lora: bool
) -> dict[str, nn.Parameter]:
    """Set what trains; return it by name. With adapters nothing else trains."""
    parameters = dict(model.named_parameters())
    trained = trained_names(parameters, trains, layers, is_lora=is_lora)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    return {name: parameter for name, parameter in parameters.items() if name in trained}


def narrow_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Hold frozen weights in the compute dtype: they need no master copy."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def make_optimizer(parameters: Mapping[str, Tensor], stage: Stage) -> AdamW:
    """AdamW with all state in place, so that a checkpoint can be read into it at once.

    Fused on GPUs: on torch 2.12 and later foreach over DTensors leaks objects at every step (facts 3.4).
    """
    values = list(parameters.values())
    is_fused = bool(values) and values[0].device.type == "cuda"
    optimizer = AdamW(
        values,
        lr=stage.lr,
        betas=stage.betas,
        eps=stage.eps,
        weight_decay=stage.weight_decay,
        foreach=False,
        fused=is_fused,
    )
    for value in values:
        optimizer.state[value] = {
            "step": torch.zeros((), device=value.device if is_fused else "cpu"),
            "exp_avg": torch.zeros_like(value),
            "exp_avg_sq": torch.zeros_like(value),
        }
    return optimizer


def optimizer_state(optimizer: AdamW, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state by parameter name, to be saved or read into."""
    return {name: optimizer.state[value] for name, value in parameters.items()}


def set_lr(optimizer: AdamW, lr: float) -> None:
    """The rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr
