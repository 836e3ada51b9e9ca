"""Sums of a run's figures, kept on the device and read only when they are logged."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from train.bridge import BridgeStats
from train.parallel import World


class Meter:
    """Figures since the last reading."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._begin()

    def _begin(self) -> None:
        self._loss = torch.zeros((), device=self.world.device, dtype=torch.float64)
        self._bridge = torch.zeros(5, device=self.world.device, dtype=torch.float64)
        self._host = torch.zeros(3, dtype=torch.float64)
        self._steps = 0
        self._waited_s = 0.0
        self._begin_s = time.perf_counter()

    @torch.no_grad()
    def add_pack(self, loss: Tensor, stats: BridgeStats | None, tokens: int, flops: float) -> None:
        """One pack; `loss` is its share of the step's."""
        self._loss += loss.detach()
        self._host += torch.tensor([tokens, flops, 0.0], dtype=torch.float64)
        if stats is not None and len(stats.keep_frac):
            has_vit = ~stats.mean_relevance.isnan()
            has_tokens = ~stats.keep_frac.isnan()  # not so where dropout left nothing of a reference
            parts = (
                stats.mean_relevance.nan_to_num().sum(),
                has_vit.sum(),
                stats.keep_frac.nan_to_num().sum(),
                stats.is_hidden.sum(),
                has_tokens.sum(),
            )
            self._bridge += torch.stack([part.double() for part in parts])

    def add_step(self, waited_s: float) -> None:
        """One optimizer step, and how long it waited for its data."""
        self._steps += 1
        self._waited_s += waited_s

    def forget(self, seconds: float) -> None:
        """Leave out time that was spent on something else than training."""
        self._begin_s += seconds

    def read(self, *, is_stopping: bool) -> tuple[dict[str, float], bool]:
        """Figures over all ranks since the last reading, and whether any rank is to stop; begins anew."""
        self._host[2] = float(is_stopping)
        sums = torch.cat([self._loss[None], self._bridge, self._host.to(self.world.device)])
        loss, relevance, with_vit, keep, hidden, references, tokens, flops, stopping = self.world.total(
            sums
        ).tolist()
        seconds = time.perf_counter() - self._begin_s
        found = {
            "loss": loss / max(self._steps, 1),
            "seconds": seconds / max(self._steps, 1),
            "waited_s": self._waited_s / max(self._steps, 1),
            "tokens_per_s": tokens / seconds,
            "flops_per_s_per_rank": flops / seconds / self.world.size,
        }
        if references:
            found |= {
                "bridge_relevance": relevance / with_vit if with_vit else float("nan"),
                "bridge_keep_frac": keep / references,
                "bridge_hidden_frac": hidden / references,
            }
        self._begin()
        return found, stopping > 0
