"""AdamW over the weights that train, its state made before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from train.groups import trained_names
from train.weights import local

if TYPE_CHECKING:  # `train.gpu_checks` runs where pydantic is not installed
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


class NarrowAdamW(AdamW):
    """AdamW whose moments are held in another dtype than the weights; torch's own wants one for both.

    A step computes in the weights' dtype and rounds the moments when it puts them back: in bfloat16 they take
    half the memory, 4 instead of 8 bytes a weight.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002, the optimizers' signature
        """One step over every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    state = {name: local(value) for name, value in self.state[weight].items()}
                    self._update(local(weight), local(weight.grad), state, group)

    @staticmethod
    def _update(weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        """All of it is number by number, so a rank works on its own shards as on plain tensors."""
        beta1, beta2 = group["betas"]
        state["step"] += 1
        mean = state["exp_avg"].to(weight.dtype, copy=True).lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].to(weight.dtype, copy=True).mul_(beta2)
        square.addcmul_(gradient, gradient, value=1 - beta2)
        state["exp_avg"].copy_(mean)
        state["exp_avg_sq"].copy_(square)
        # A tensor, not a number: reading `step` would wait for the device at every weight.
        unbias1, unbias2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        scale = square.div_(unbias2.to(square.device)).sqrt_().add_(group["eps"])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(mean.div_(unbias1.to(mean.device)).div_(scale).mul_(group["lr"]))


def make_optimizer(
    parameters: Mapping[str, Tensor], stage: Stage, moments: torch.dtype = torch.float32
) -> AdamW:
    """AdamW with all state in place, so that a checkpoint can be read into it at once.

    Fused on GPUs: on torch 2.12 and later foreach over DTensors leaks objects at every step (facts 3.4).

    Args:
        moments: what both moments are held in; bfloat16 takes the plain, unfused step of `NarrowAdamW`.
    """
    values = list(parameters.values())
    is_narrow = moments != torch.float32
    is_fused = bool(values) and values[0].device.type == "cuda" and not is_narrow
    optimizer = (NarrowAdamW if is_narrow else AdamW)(
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
            "exp_avg": torch.zeros_like(value, dtype=moments),
            "exp_avg_sq": torch.zeros_like(value, dtype=moments),
        }
    return optimizer


def optimizer_state(optimizer: AdamW, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state by parameter name, to be saved or read into."""
    return {name: optimizer.state[value] for name, value in parameters.items()}


def set_lr(optimizer: AdamW, lr: float) -> None:
    """The rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr
