"""Processes and how the model is split over them: FSDP2, or nothing at all on one CPU process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from train.config import ConfigError
from train.model import Bagel

LOAD_TIMEOUT_S = 3600  # until a run's own settings are applied


@dataclass(frozen=True)
class World:
    """This process among the others."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether the model is under FSDP: on GPUs, where it also casts, and on several CPU ranks."""
        return self.size > 1 or self.device.type == "cuda"

    def mesh(self) -> DeviceMesh:
        """All processes in one row."""
        return init_device_mesh(self.device.type, (self.size,))

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def wait_at_most(self, timeout_s: int) -> None:
        """How long, from now on, a rank waits for the slowest in a collective before all of them fail."""
        if self.size > 1:
            dist.group.WORLD.set_timeout(timedelta(seconds=timeout_s))  # FSDP's mesh has no other group

    def agreed(self, value: int) -> int:
        """The first rank's number, on every rank: nodes may not see the same of a network file system."""
        if self.size == 1:
            return value
        found = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.broadcast(found, 0)
        return int(found)

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks, on every rank."""
        if self.size > 1:
            dist.all_reduce(values)
        return values


def kind_of(device: str) -> str:
    """The kind of device that is asked for: `cpu`, `cuda`, or `auto` for whichever this machine has.

    Raises:
        ConfigError: there is no such kind, or this machine has none of it.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: expected auto, cpu or cuda, got {device!r}")
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ConfigError("device: expected a GPU, found none; say cpu")
    return ("cuda" if has_gpu else "cpu") if device == "auto" else device


@contextmanager
def joined_world(device: str = "auto", timeout_s: int = LOAD_TIMEOUT_S) -> Iterator[World]:
    """Join the processes that torchrun or Ray started, or be the only one; leave again at the end."""
    kind = kind_of(device)
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    place = (
        torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    )
    is_joined = dist.is_initialized()
    if kind == "cuda":
        torch.cuda.set_device(place)
    if not is_joined:
        _join(kind, rank, size, timeout_s)
    try:
        yield World(rank, size, place)
    finally:
        if not is_joined and dist.is_initialized():
            dist.destroy_process_group()


def _join(kind: str, rank: int, size: int, timeout_s: int) -> None:
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    store: dict[str, Any] = {} if size > 1 else {"store": dist.HashStore()}
    timeout = timedelta(seconds=timeout_s)
    dist.init_process_group(backend, rank=rank, world_size=size, timeout=timeout, **store)


def shard(model: Bagel, world: World, compute: torch.dtype) -> None:
    """Split a (meta) model over all ranks, in place: a unit a layer, the ViT, the two embeddings, the rest.

    Gradients are summed, never averaged: the loss is already divided by the step's target tokens.
    """
    if not world.is_sharded:
        return
    # Inputs are not cast: the rotary angles stay in float32, everything else already has the right dtype.
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = world.mesh()
    for unit in (*_units(model), model):
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            # Without this gloo is asked for a scaled sum, which it does not have (facts 3.4).
            module.set_force_sum_reduction_for_comms(True)


def _units(model: Bagel) -> Iterable[nn.Module]:
    language = model.language_model
    # The text head is a unit of its own: no image loss calls it, so it is never gathered.
    return (*language.model.layers, language.model.embed_tokens, language.lm_head, model.vit_model)


def reshard(model: nn.Module) -> None:
    """Let go of what FSDP has gathered, everywhere: the next pass gathers the weights as they are then."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def outside_forward(model: nn.Module) -> Iterator[None]:
    """Let the sampler call the root's own parts (projections and others), which only `forward` gathers."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()
