"""Where in its references a model sees what the instruction asks for: relevance per layer and expert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from train.batch import Batch
from train.inputs import PackInputs
from train.model import Bagel
from train.segments import Kind

# U understanding rows, G generation rows, H hidden size

TILE_PX = 160
LABEL_PX = 14
EXPERTS = {"und": Kind.VIT, "gen": Kind.LATENT}


@dataclass(frozen=True, kw_only=True)
class Map:
    """Relevance over one reference image after one layer, as one expert's tokens have it.

    Attributes:
        expert: `und` (ViT tokens) or `gen` (latents).
        values: [rows, columns] mean cosine with the text.
    """

    layer: int
    expert: str
    reference: int
    values: Tensor


@torch.no_grad()
def relevance_maps(model: Bagel, batch: Batch, inputs: PackInputs) -> list[Map]:
    """Every layer's relevance over every reference of one sample's batch.

    Source: facts 2.1; the paper's figures 1b and 2a.
    """
    layout, found = batch.layout, []
    grids = {"und": layout.vit_grids, "gen": layout.latent_grids}
    rows = {name: torch.from_numpy(layout.columns.kind == kind) for name, kind in EXPERTS.items()}
    is_text = torch.from_numpy(layout.is_instruction)

    def watch(number: int, und_UH: Tensor, gen_GH: Tensor) -> None:
        unit = functional.normalize(torch.cat([und_UH, gen_GH]).float().cpu(), dim=-1)
        text = unit[is_text].mean(0)
        for expert, place in rows.items():
            parts = (unit[place] @ text).split([grid.size for grid in grids[expert]])
            for reference, (values, grid) in enumerate(zip(parts, grids[expert], strict=True)):
                one = Map(layer=number, expert=expert, reference=reference, values=values.view(grid))
                found.append(one)

    model(inputs, watch=watch)
    return found


def draw_maps(maps: list[Map], references: list[Image.Image]) -> Image.Image:
    """A sheet of heat over the pictures: a row a layer, two columns a reference (und, gen).

    Colours run from each map's lowest value (blue) to its highest (red), which stand below it.
    """
    columns = 2 * len(references)
    layers = 1 + max(one.layer for one in maps)
    sheet = Image.new("RGB", (columns * TILE_PX, layers * (TILE_PX + LABEL_PX)), "white")
    pen = ImageDraw.Draw(sheet)
    for one in maps:
        left = (2 * one.reference + list(EXPERTS).index(one.expert)) * TILE_PX
        top = one.layer * (TILE_PX + LABEL_PX)
        sheet.paste(_heat(references[one.reference], one.values), (left, top))
        low, high = one.values.min().item(), one.values.max().item()
        pen.text(
            (left + 2, top + TILE_PX), f"{one.expert} {one.layer}: {low:.2f} to {high:.2f}", fill="black"
        )
    return sheet


def _heat(image: Image.Image, values: Tensor) -> Image.Image:
    low, high = values.min(), values.max()
    share = ((values - low) / (high - low).clamp(min=1e-6)).numpy()
    colours = np.stack([share, 1 - np.abs(2 * share - 1), 1 - share], axis=-1)
    heat = Image.fromarray((colours * 255).astype(np.uint8)).resize(
        (TILE_PX, TILE_PX), Image.Resampling.BILINEAR
    )
    return Image.blend(image.resize((TILE_PX, TILE_PX)), heat, 0.5)
