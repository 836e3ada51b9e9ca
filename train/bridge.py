"""The understanding bridge: which reference tokens the instruction asks for; targets see no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.bridge_config import BridgeConfig
from train.layout import Layout
from train.segments import Kind
from train.taps import make_taps

# T rows of the pack, U understanding rows, D samples, L latents that have a ViT grid, H hidden size,
# E halves of reference images (2r: ViT, 2r + 1: latents)


@dataclass(frozen=True, kw_only=True)
class BridgeIndex:
    """Where a pack's text and reference tokens are, as tensors on the model's device.

    Attributes:
        doc_U: sample of the row; padding counts as sample D, which has no text.
        is_text_U: the instruction, with the tokens that begin and end it.
        is_vit_U: ViT tokens of samples with text.
        latent_row_L, tap_row_L4, tap_weight_L4: see `train.taps`; latent rows count from 0 in the pack.
        half_T: half of a reference image that text can be asked of; E elsewhere: other tokens, samples
            without text, latents without ViT tokens. The bridge neither hides nor counts those.
        docs, halves: D and E.
    """

    doc_U: Tensor
    is_text_U: Tensor
    is_vit_U: Tensor
    latent_row_L: Tensor
    tap_row_L4: Tensor
    tap_weight_L4: Tensor
    half_T: Tensor
    docs: int
    halves: int


def bridge_index(layout: Layout, device: torch.device | str = "cpu") -> BridgeIndex:
    """What the bridge needs of a layout."""
    columns, und, taps = layout.columns, slice(0, layout.und_rows), make_taps(layout)
    halves = 2 * len(layout.reference_docs)
    doc_U = columns.doc[und].copy()
    doc_U[doc_U < 0] = layout.docs
    has_text = np.isin(columns.doc, columns.doc[layout.is_instruction])
    has_vit = np.isin(columns.reference, layout.vit_references)
    half_T = columns.reference * 2 + (columns.kind == Kind.LATENT)
    half_T[(columns.reference < 0) | ~has_text | ~has_vit] = halves
    arrays = {
        "doc_U": doc_U,
        "is_text_U": layout.is_instruction[und],
        "is_vit_U": (columns.kind[und] == Kind.VIT) & has_text[und],
        "latent_row_L": taps.latent_row + layout.und_rows,
        "tap_row_L4": taps.und_row,
        "tap_weight_L4": taps.weight,
        "half_T": half_T,
    }
    tensors = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
    return BridgeIndex(**tensors, docs=layout.docs, halves=halves)


@torch.no_grad()
def relevance(und_UH: Tensor, rows: int, index: BridgeIndex) -> Tensor:
    """How much each reference token is asked for, [T] float32: mean cosine with the sample's text.

    1.0 where it is not asked: other tokens, references without ViT tokens, samples without text.
    Source: facts 2.1 and 3.3; the mean of cosines is one product with the mean of unit vectors.
    """
    unit_UH = functional.normalize(und_UH.float(), dim=-1)
    is_text_U = index.is_text_U.float()
    sums_DH = unit_UH.new_zeros(index.docs + 1, unit_UH.shape[1])
    sums_DH.index_add_(0, index.doc_U, unit_UH * is_text_U[:, None])
    count_D = unit_UH.new_zeros(index.docs + 1).index_add_(0, index.doc_U, is_text_U)
    mean_DH = sums_DH / count_D.clamp(min=1)[:, None]
    cosine_U = (unit_UH * mean_DH[index.doc_U]).sum(-1)
    relevance_U = torch.where(index.is_vit_U, cosine_U, 1.0)
    relevance_T = functional.pad(relevance_U, (0, rows - len(relevance_U)), value=1.0)
    taps_L = (relevance_U[index.tap_row_L4] * index.tap_weight_L4).sum(-1)
    return relevance_T.index_copy(0, index.latent_row_L, taps_L)


@torch.no_grad()
def keep_mask(relevance_T: Tensor, index: BridgeIndex, config: BridgeConfig) -> Tensor:
    """Which rows a target sees in the bridge's layers, [T] bool; true outside the reference images."""
    keep = _passes(relevance_T, index, config)
    if config.fallback_frac:
        kept_E = _per_half(keep.float(), index)
        emptied_T = (kept_E == 0)[index.half_T]
        keep = keep | (emptied_T & _best(relevance_T, index, config.fallback_frac))
    return keep | (index.half_T == index.halves)


def _passes(relevance_T: Tensor, index: BridgeIndex, config: BridgeConfig) -> Tensor:
    if config.rule == "quantile":
        return _best(relevance_T, index, config.keep_frac)
    dtype = torch.bfloat16 if config.is_bfloat16 else torch.float32
    value, threshold = relevance_T.to(dtype), torch.tensor(config.threshold, dtype=dtype)
    return value > threshold if config.is_strict else value >= threshold


def _best(relevance_T: Tensor, index: BridgeIndex, frac: float) -> Tensor:
    """The `frac` most relevant tokens of each half (at least one); ties go to the earlier row. No sync."""
    order = relevance_T.argsort(descending=True, stable=True)
    order = order[index.half_T[order].argsort(stable=True)]
    size_E = torch.bincount(index.half_T, minlength=index.halves + 1)
    start_E = size_E.cumsum(0) - size_E
    half = index.half_T[order]
    rank = torch.arange(len(order), device=order.device) - start_E[half]
    chosen = rank < (size_E[half] * frac).ceil().clamp(min=1)
    return torch.empty_like(chosen).index_copy(0, order, chosen)


def _per_half(value_T: Tensor, index: BridgeIndex) -> Tensor:
    return value_T.new_zeros(index.halves + 1).index_add_(0, index.half_T, value_T)


class BridgeStats(NamedTuple):
    """What the bridge did, per reference image [R] float32, on the device; read only when logged.

    Attributes:
        mean_relevance: over its ViT tokens. keep_frac: over ViT tokens and latents.
        is_hidden: 1.0 where no token is kept.
    """

    mean_relevance: Tensor
    keep_frac: Tensor
    is_hidden: Tensor


@torch.no_grad()
def bridge_stats(relevance_T: Tensor, keep_T: Tensor, index: BridgeIndex) -> BridgeStats:
    """Statistics of every reference image of a pack; NaN where text is asked of none of its (ViT) tokens."""
    vit_E, latent_E = _per_half(torch.ones_like(relevance_T), index)[:-1].view(-1, 2).unbind(1)
    relevance_sum = _per_half(relevance_T, index)[:-1:2]
    kept = _per_half(keep_T.float(), index)[:-1].view(-1, 2).sum(1)
    tokens = vit_E + latent_E
    return BridgeStats(
        mean_relevance=relevance_sum / vit_E,
        keep_frac=kept / tokens,
        is_hidden=((kept == 0) & (tokens > 0)).float(),
    )
