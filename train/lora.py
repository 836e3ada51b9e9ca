"""Low-rank adapters on the language model's layers, and their way back into whole weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.groups import group_of
from train.keyed import keyed_generator
from train.weights import copy_rows, whole_tensor

ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraLinear(nn.Linear):
    """A linear layer with `x A' B' * scale` added; its own weight keeps its name and is frozen."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        device, dtype = base.weight.device, base.weight.dtype
        super().__init__(base.in_features, base.out_features, base.bias is not None, "meta", dtype)
        self.weight, self.bias = base.weight, base.bias
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.lora_b = nn.Parameter(torch.empty(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.lora_a.to(x.dtype))
        return super().forward(x) + functional.linear(low, self.lora_b.to(x.dtype)) * self.scale


def add_adapters(model: nn.Module, groups: set[str], layers: int, rank: int, alpha: float) -> None:
    """Replace the linear layers of these groups' parts by adapted ones, in place."""
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        is_adapted = isinstance(module, nn.Linear) and last.removesuffix("_moe_gen") in ADAPTED
        is_layer = is_adapted and name.startswith("language_model.model.layers.")
        if is_layer and group_of(f"{name}.weight", layers) in groups:
            setattr(model.get_submodule(parent), last, LoraLinear(module, rank, alpha))


def reset_adapters(model: nn.Module, seed: int) -> None:
    """First values, the same for any sharding: A uniform as a linear layer's, B zero."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            bound = module.in_features**-0.5
            whole = torch.empty(module.lora_a.shape).uniform_(
                -bound, bound, generator=keyed_generator(seed, "lora", name)
            )
            copy_rows(module.lora_a, lambda first, last, whole=whole: whole[first:last])
            nn.init.zeros_(module.lora_b)


def merged(model: nn.Module, name: str, value: Tensor) -> Tensor:
    """The whole weight of a name, gathered from all ranks, its adapter added."""
    whole = whole_tensor(value)
    module = model.get_submodule(name.rpartition(".")[0])
    if not isinstance(module, LoraLinear) or not name.endswith(".weight"):
        return whole
    change = whole_tensor(module.lora_b).float() @ whole_tensor(module.lora_a).float() * module.scale
    return (whole.float() + change).to(whole.dtype)
