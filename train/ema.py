"""A running mean of the weights that train, sharded as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from train.weights import local


class Ema:
    """Means in float32, by parameter name."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        assert all(value.dtype == torch.float32 for value in parameters.values())  # swapping is then exact
        self.means = {name: value.detach().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step `step` (from 0). Early steps forget faster, as a mean over few would."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.means.items():
            local(mean).lerp_(local(self.parameters[name]), 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Means where the weights are, and the weights again afterwards, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange both, a tensor at a time: each rank its own shards, with memory for one of them more."""
        for name, mean in self.means.items():
            weight = local(self.parameters[name])
            before = weight.clone()
            weight.copy_(local(mean))
            local(mean).copy_(before)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the means in place of the weights; training is over."""
        for name, mean in self.means.items():
            local(self.parameters[name]).copy_(local(mean))
