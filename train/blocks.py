"""Block masks for flex attention from the extremes of each block's metadata, without any token-by-token grid.

The classes are conservative: a block that has a visible pair is never called empty, and a block that hides
one is never called full; a block called partial is decided pair by pair inside the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, _mask_mod_signature

from train.masks import TokenMeta, bridged, visible

# B blocks, Q query blocks, K key blocks, T rows

FAR = 2**30


class Extremes(NamedTuple):
    """Per block: smallest and largest of what the rule compares, over rows that are no padding."""

    doc_low: Tensor
    doc_high: Tensor
    segment_low: Tensor
    segment_high: Tensor
    index_low: Tensor
    index_high: Tensor
    any_causal: Tensor
    all_causal: Tensor
    any_noise: Tensor
    all_noise: Tensor
    any_padding: Tensor
    any_target: Tensor
    only_target: Tensor

    def at(self, *index: object) -> Extremes:
        return Extremes(*(value[index] for value in self))


def extremes(meta: TokenMeta, block: int) -> Extremes:
    """Of every block of `block` rows; the rows must be a multiple of it."""
    by_block = TokenMeta(*(column.view(-1, block) for column in meta))
    is_row = by_block.doc >= 0
    ranges = []
    for column in (by_block.doc, by_block.segment, by_block.index):
        ranges += [column.masked_fill(~is_row, FAR).amin(1), column.masked_fill(~is_row, -FAR).amax(1)]
    return Extremes(
        *ranges,
        any_causal=(by_block.is_causal & is_row).any(1),
        all_causal=(by_block.is_causal | ~is_row).all(1),
        any_noise=(by_block.is_noise & is_row).any(1),
        all_noise=(by_block.is_noise | ~is_row).all(1),
        any_padding=(~is_row).any(1),
        any_target=by_block.is_target.any(1),
        only_target=(by_block.is_target | ~is_row).all(1),
    )


@dataclass(frozen=True)
class BlockGrid:
    """[Q, K] bool each: blocks to compute under the rule, and blocks to compute whole."""

    partial: Tensor
    full: Tensor


def classify(q: Extremes, k: Extremes) -> BlockGrid:
    """Every block as partial, full or neither (empty), from extremes [Q, 1] and [1, K]."""
    docs_meet = (q.doc_low <= k.doc_high) & (k.doc_low <= q.doc_high)
    one_doc = (q.doc_low == q.doc_high) & (k.doc_low == k.doc_high) & (q.doc_low == k.doc_low)
    segments_meet = (q.segment_low <= k.segment_high) & (k.segment_low <= q.segment_high)
    may_own = segments_meet & (~q.all_causal | (k.index_low <= q.index_high))
    may_earlier = (k.segment_low < q.segment_high) & ~k.all_noise
    some = docs_meet & (~one_doc | may_own | may_earlier)
    in_order = ~q.any_causal | (k.index_high <= q.index_low)
    same = (
        (q.segment_low == q.segment_high)
        & (k.segment_low == k.segment_high)
        & (q.segment_low == k.segment_low)
    )
    before = (k.segment_high < q.segment_low) & ~k.any_noise
    not_after = (k.segment_high <= q.segment_low) & in_order & ~k.any_noise
    every = one_doc & ~q.any_padding & ~k.any_padding & ((same & in_order) | before | not_after)
    return BlockGrid(partial=some & ~every, full=every)


def with_bridge(grid: BlockGrid, q: Extremes, any_keep: Tensor, all_keep: Tensor) -> BlockGrid:
    """The grid of the bridge's layers, from whether any or all of a key block [1, K] is kept."""
    untouched = ~q.any_target
    full = grid.full & (untouched | all_keep)
    some = (grid.partial | grid.full) & ~(q.only_target & ~any_keep)
    return BlockGrid(partial=some & ~full, full=full)


def block_mask(
    meta: TokenMeta, block: int, keep_T: Tensor | None = None, last_rows: int | None = None
) -> BlockMask:
    """The rule as a `BlockMask`; queries are all rows, or the last `last_rows` (a multiple of `block`)."""
    rows = len(meta.doc)
    first = 0 if last_rows is None else rows - last_rows
    per_block = extremes(meta, block)
    q = per_block.at(slice(first // block, None), None)
    grid = classify(q, per_block.at(None, slice(None)))
    if keep_T is not None:
        keep_KB = keep_T.view(-1, block)
        grid = with_bridge(grid, q, keep_KB.any(1)[None, :], keep_KB.all(1)[None, :])
    return BlockMask.from_kv_blocks(
        *_ordered(grid.partial),
        *_ordered(grid.full),
        BLOCK_SIZE=block,
        mask_mod=_rule(meta.at(slice(first, None)), meta, keep_T),
        seq_lengths=(rows - first, rows),
    )


def _ordered(grid_QK: Tensor) -> tuple[Tensor, Tensor]:
    """Number of blocks per query block, and their indices first; as flex attention reads them."""
    count = grid_QK.sum(-1, dtype=torch.int32)
    order = grid_QK.int().argsort(dim=-1, descending=True, stable=True).int()
    return count[None, None], order[None, None]


def _rule(q_meta: TokenMeta, k_meta: TokenMeta, keep_T: Tensor | None) -> _mask_mod_signature:
    # Only tensors are captured: a number here would be part of the compiled code and compile anew per pack.
    def rule(_batch: Tensor, _head: Tensor, q_index: Tensor, k_index: Tensor) -> Tensor:
        q, k = q_meta.at(q_index), k_meta.at(k_index)
        seen = visible(q, k)
        return seen if keep_T is None else bridged(seen, q, keep_T[k_index])

    return rule
