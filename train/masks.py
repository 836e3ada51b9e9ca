"""Which token sees which: one rule, as a dense mask for CPUs or as block masks for flex attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from train.layout import Layout
from train.segments import Kind, Mode

# T rows of the pack, Q query blocks, K key blocks


class TokenMeta(NamedTuple):
    """What the rule needs of each row, [T] each (or any shapes that broadcast).

    Attributes:
        doc: sample, -1 for padding. segment, index: within the sample.
        is_causal, is_noise: mode of the segment.
        is_target: a target's latent; its boundary tokens are not.
    """

    doc: Tensor
    segment: Tensor
    index: Tensor
    is_causal: Tensor
    is_noise: Tensor
    is_target: Tensor

    def at(self, *index: object) -> TokenMeta:
        return TokenMeta(*(column[index] for column in self))

    def to(self, device: torch.device) -> TokenMeta:
        return TokenMeta(*(column.to(device, non_blocking=True) for column in self))


def token_meta(layout: Layout) -> TokenMeta:
    """A layout's columns as the rule reads them."""
    columns = layout.columns
    numbers = (torch.from_numpy(column).int() for column in (columns.doc, columns.segment, columns.index))
    claims = (columns.mode == Mode.CAUSAL, columns.mode == Mode.NOISE, columns.kind == Kind.TARGET)
    return TokenMeta(*numbers, *(torch.from_numpy(claim) for claim in claims))


def visible(q: TokenMeta, k: TokenMeta) -> Tensor:
    """Whether query `q` sees key `k`. Source: facts 1.6."""
    own = (k.segment == q.segment) & (~q.is_causal | (k.index <= q.index))
    earlier = (k.segment < q.segment) & ~k.is_noise
    return (q.doc == k.doc) & (q.doc >= 0) & (own | earlier)


def bridged(is_visible: Tensor, q: TokenMeta, keep_k: Tensor) -> Tensor:
    """The same in the bridge's layers: of references a target sees kept tokens only. Source: facts 2.1."""
    return is_visible & (keep_k | ~q.is_target)


def dense_mask(meta: TokenMeta, keep_T: Tensor | None = None) -> Tensor:
    """[T, T] bool, true where row sees column. For CPUs and tests: its size is quadratic."""
    q, k = meta.at(slice(None), None), meta.at(None, slice(None))
    mask = visible(q, k)
    return mask if keep_T is None else bridged(mask, q, keep_T[None, :])
