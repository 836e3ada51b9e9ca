"""A running mean of the weights that train, sharded as they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Ema:
    """Means in float32, by parameter name."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        self.means = {name: value.detach().clone().float() for name, value in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step `step` (from 0). Early steps forget faster, as a mean over few would."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.means.items():
            mean.lerp_(self.parameters[name].detach().float(), 1 - keep)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the means in place of the weights; training is over."""
        for name, mean in self.means.items():
            self.parameters[name].copy_(mean)
