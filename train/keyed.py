"""Randomness by name: the same (seed, step, pack, segment) gives the same numbers on any rank and machine."""

from __future__ import annotations

import torch
from torch import Tensor

from shards.sample import Json
from shards.stage import keyed_random


def keyed_generator(*parts: Json) -> torch.Generator:
    """A CPU generator that only these words and numbers decide.

    >>> first, again = (torch.rand(1, generator=keyed_generator(7, "a")) for _ in range(2))
    >>> bool(first == again)
    True
    """
    return torch.Generator().manual_seed(keyed_random(*parts).getrandbits(63))


def keyed_normal(shape: tuple[int, ...], *parts: Json) -> Tensor:
    """Standard normal numbers, float32, on the CPU."""
    return torch.randn(shape, generator=keyed_generator(*parts))
