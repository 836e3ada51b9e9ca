"""Activation checkpointing: what a layer keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Result = TypeVar("Result")


class Checkpointing(StrEnum):
    """NONE keeps everything; FULL a layer's input only; ATTENTION its input and what attention gave."""

    NONE = "none"
    FULL = "full"
    ATTENTION = "attention"


# At 26.6k tokens: FULL holds 5.3 GB of inputs for 28 layers, ATTENTION as much again and repeats no attention
# in the backward pass (about 5 % of executed FLOPs; facts 3.4, calculated).
_ATTENTION_OPS = [
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.higher_order.flex_attention,
]


def checkpointed(mode: Checkpointing, run: Callable[..., Result], *arguments: object) -> Result:
    """`run(*arguments)`, recomputed in the backward pass as `mode` says; plain where no gradient is kept."""
    if mode == Checkpointing.NONE or not torch.is_grad_enabled():
        return run(*arguments)
    if mode == Checkpointing.FULL:
        return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False)
    contexts = partial(create_selective_checkpoint_contexts, _ATTENTION_OPS)
    return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
