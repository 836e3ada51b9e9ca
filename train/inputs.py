"""What the model reads of a pack: its layout and its images, as tensors on one device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.attention import PackAttention, pack_attention
from train.bridge import BridgeIndex, bridge_index
from train.layout import Layout
from train.masks import token_meta
from train.segments import Kind

# T rows: U understanding, then G generation, of which the last M are targets; X text, V ViT tokens,
# I latent images (references, then targets), C numbers of a latent token or of a patch


@dataclass(frozen=True, kw_only=True)
class PackInputs:
    """One pack, ready for `Bagel.forward`. Names follow `train.layout`.

    Attributes:
        clean_GC: latents of references and targets, zero in padding rows.
        noise_MC: noise of target rows.
        time_I: time of each latent image; 0 for references.
        is_target_M: which target rows are tokens, not padding.
        targets: number of target tokens.
    """

    position_T: Tensor
    text_id_X: Tensor
    und_source_U: Tensor
    patch_VC: Tensor
    vit_id_V: Tensor
    vit_lengths: list[int]
    clean_GC: Tensor
    noise_MC: Tensor
    time_I: Tensor
    image_G: Tensor
    latent_id_G: Tensor
    is_latent_G: Tensor
    is_target_M: Tensor
    target_rows: int
    targets: int
    attention: PackAttention
    bridge: BridgeIndex


def pack_inputs(
    layout: Layout,
    *,
    patch_VC: Tensor,
    latent_IC: list[Tensor],
    noise_IC: list[Tensor],
    time: list[float] | Tensor,
    block: int | None = None,
    device: torch.device | str = "cpu",
) -> PackInputs:
    """Put a pack's layout and images together.

    Args:
        patch_VC: ViT patches of all images in packed order.
        latent_IC: tokens [h * w, C] of each latent image, references first, then targets.
        noise_IC: of each target.
        time: of each target.
        block: rows of a flex attention block; None for dense masks.
    """
    gen = slice(layout.und_rows, None)
    targets = slice(layout.rows - layout.target_rows, None)
    columns = layout.columns
    time_I = torch.cat([torch.zeros(len(layout.latent_grids)), torch.as_tensor(time, dtype=torch.float32)])
    arrays = {
        "position_T": columns.position,
        "text_id_X": layout.text_ids,
        "und_source_U": layout.und_source,
        "vit_id_V": layout.vit_ids,
        "image_G": columns.image[gen],
        "latent_id_G": columns.grid_id[gen],
        "is_latent_G": columns.kind[gen] >= Kind.LATENT,
        "is_target_M": columns.kind[targets] == Kind.TARGET,
    }
    tensors = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
    return PackInputs(
        **tensors,
        patch_VC=patch_VC.to(device, non_blocking=True),
        vit_lengths=[grid.size for grid in layout.vit_grids],
        clean_GC=_padded(latent_IC, layout.gen_source, layout.token_size, device),
        noise_MC=_padded(noise_IC, _noise_source(layout), layout.token_size, device),
        time_I=time_I.to(device),
        target_rows=layout.target_rows,
        targets=sum(grid.size for grid in layout.target_grids),
        attention=pack_attention(token_meta(layout).to(torch.device(device)), block),
        bridge=bridge_index(layout, device),
    )


def _noise_source(layout: Layout) -> npt.NDArray[np.int64]:
    """Where a target row's noise is in (targets' tokens, one zero row)."""
    references = sum(grid.size for grid in layout.latent_grids)
    return layout.gen_source[layout.ref_rows :] - references


def _padded(
    images_IC: list[Tensor], source: npt.NDArray[np.int64], width: int, device: torch.device | str
) -> Tensor:
    tokens = [image.to(device, non_blocking=True) for image in images_IC]
    with_zero = torch.cat([*tokens, torch.zeros(1, width, device=device)])
    return with_zero[torch.from_numpy(source).to(device, non_blocking=True)]
