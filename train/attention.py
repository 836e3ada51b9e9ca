"""How queries meet keys: dense masks on CPUs, block masks on GPUs, plain calls for one sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from train.blocks import block_mask
from train.masks import TokenMeta, dense_mask

# T rows, Q query rows, N heads, D head size


class Attend(Protocol):
    """What a layer calls: q [Q, N, D], k and v [T, fewer N, D] -> [Q, N * D]."""

    def __call__(self, q_QND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor: ...


def attend_masked(q_QND: Tensor, k_TND: Tensor, v_TND: Tensor, mask_QT: Tensor | None) -> Tensor:
    """Exact attention under a bool mask; None: everything is visible."""
    q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q_QND, k_TND, v_TND))
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask_QT, enable_gqa=True)
    return out.squeeze(0).transpose(0, 1).flatten(1)


@dataclass(frozen=True)
class DenseAttend:
    """Exact attention, sample by sample: what two samples would waste on each other is never computed.

    Attributes:
        parts: of each sample, the places of its rows among queries and among keys, and its mask.
    """

    parts: tuple[tuple[Tensor, Tensor, Tensor], ...]

    def __call__(self, q_QND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor:
        out_QH = q_QND.new_zeros(len(q_QND), q_QND.shape[1] * q_QND.shape[2])
        seen = [attend_masked(q_QND[q], k_TND[k], v_TND[k], mask) for q, k, mask in self.parts]
        return out_QH.index_copy(0, torch.cat([q for q, _, _ in self.parts]), torch.cat(seen))


@dataclass(frozen=True)
class FlexAttend:
    """Flex attention under a block mask; inside a compiled layer it is part of the layer's graph."""

    mask: BlockMask

    def __call__(self, q_QND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q_QND, k_TND, v_TND))
        # Outside compiled code eager flex attention would make the whole [T, T] on a GPU.
        is_fused = torch.compiler.is_compiling() or q.device.type == "cpu"
        flex = flex_attention if is_fused else _compiled_flex()
        out = cast(Tensor, flex(q, k, v, block_mask=self.mask, enable_gqa=True))
        return out.squeeze(0).transpose(0, 1).flatten(1)


@cache
def _compiled_flex() -> Callable[..., object]:
    return torch.compile(flex_attention, dynamic=True)


@dataclass(frozen=True)
class PrefixAttend:
    """Samples without targets: each segment sees all before it and itself, so plain calls do.

    Attributes:
        order: rows in packed order.
        spans: of each segment, in packed order: begin of its sample, begin, end, whether it is causal.
    """

    order: Tensor
    spans: tuple[tuple[int, int, int, bool], ...]

    def __call__(self, q_TND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor:
        q, k, v = (x[self.order] for x in (q_TND, k_TND, v_TND))
        parts = []
        for first, begin, end, is_causal in self.spans:
            mask = _causal(end - begin, end - first, q.device) if is_causal else None
            parts.append(attend_masked(q[begin:end], k[first:end], v[first:end], mask))
        return torch.empty_like(q_TND.flatten(1)).index_copy(0, self.order, torch.cat(parts))


def _causal(rows: int, keys: int, device: torch.device) -> Tensor:
    """[rows, keys] bool: the last `rows` of so many tokens, each with what is before it."""
    return torch.ones(rows, keys, dtype=torch.bool, device=device).tril(keys - rows)


class PackAttention(Protocol):
    """The attention of one pack: over all rows, or for its last rows only, with or without the bridge."""

    def attend(self, keep_T: Tensor | None = None, last_rows: int | None = None) -> Attend: ...


@dataclass(frozen=True)
class DensePack:
    """The pack's rule as a mask a sample. Quadratic memory: CPUs and tests."""

    meta: TokenMeta

    def attend(self, keep_T: Tensor | None = None, last_rows: int | None = None) -> DenseAttend:
        first = 0 if last_rows is None else len(self.meta.doc) - last_rows
        docs = range(int(self.meta.doc.max()) + 1)
        return DenseAttend(tuple(self._part(doc, keep_T, first) for doc in docs))

    def _part(self, doc: int, keep_T: Tensor | None, first: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = (self.meta.doc == doc).nonzero().flatten()
        mask = dense_mask(self.meta.at(rows), None if keep_T is None else keep_T[rows])
        is_query = rows >= first
        return rows[is_query] - first, rows, mask[is_query]


@dataclass(frozen=True)
class FlexPack:
    """The same as block masks, built from each block's extremes; nothing of size [T, T] is made."""

    meta: TokenMeta
    block: int

    def attend(self, keep_T: Tensor | None = None, last_rows: int | None = None) -> FlexAttend:
        return FlexAttend(block_mask(self.meta, self.block, keep_T, last_rows))


def pack_attention(meta: TokenMeta, block: int | None) -> PackAttention:
    """Flex with blocks of `block` rows, or dense where None."""
    return DensePack(meta) if block is None else FlexPack(meta, block)


def attend_whole(q_QND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor:
    """Every query sees every key: one image, or one sequence with its cache."""
    return attend_masked(q_QND, k_TND, v_TND, None)


def per_sequence(q_TND: Tensor, k_TND: Tensor, v_TND: Tensor, lengths: list[int]) -> Tensor:
    """Sequences packed one after another, each seeing itself only; one call for all of them on a GPU.

    The one call (`varlen_attn`) is flash attention, which has no float32: there, and on CPUs, one by one.
    """
    if q_TND.device.type == "cuda" and q_TND.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = _bounds(tuple(lengths), q_TND.device), max(lengths)
        seen = varlen_attn(q_TND, k_TND, v_TND, bounds, bounds, longest, longest)
        return cast(Tensor, seen).flatten(1)
    parts = zip(q_TND.split(lengths), k_TND.split(lengths), v_TND.split(lengths), strict=True)
    return torch.cat([attend_whole(*part) for part in parts])


@lru_cache(maxsize=4)
def _bounds(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Where each sequence begins, and where the last one ends; made once for all layers of a pack.

    >>> _bounds((3, 1, 4), torch.device("cpu")).tolist()
    [0, 3, 4, 8]
    """
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
