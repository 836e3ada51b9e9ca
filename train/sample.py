"""The sampler: from noise to latents under an instruction and reference images, all branches in one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from train.attention import PrefixAttend
from train.bridge_config import BridgeConfig
from train.cache import Branch, StepAttend, prefill
from train.flow import sampling_times
from train.guidance import SamplerConfig, guided
from train.inputs import pack_inputs
from train.layout import Layout, make_layout
from train.model import Bagel
from train.segments import Grid, Mode, SampleTokens, next_position

# n latent tokens of the image, G generation rows (n a branch), C numbers of a token, H hidden size


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What to draw, in tokens.

    Attributes:
        tokens: references and text; its targets are ignored.
        patch_VC: ViT patches of all references.
        latent_IC: tokens of each reference's latent.
        target: grid of the image to draw.
    """

    tokens: SampleTokens
    patch_VC: Tensor
    latent_IC: list[Tensor]
    target: Grid


@torch.no_grad()
def sample_latents(
    model: Bagel,
    prompt: Prompt,
    noise_nC: Tensor,
    config: SamplerConfig,
    bridge: BridgeConfig | None = None,
    *,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Latent tokens [n, C] float32 of one image.

    Args:
        prompt: what to draw; without references there is no image guidance, whatever the settings say: the
            context without images is then the full one, and what lies past it is no guidance.
        noise_nC: standard normal; where sampling starts.
        bridge: used where `config.uses_bridge`.
        watch: called with (step, guided velocity).
    """
    device = noise_nC.device
    if not prompt.tokens.references:
        config = replace(config, image_scale=1.0)
    branches = _branches(model, prompt, config, bridge if config.uses_bridge else None, device)
    step = _Step.make(model, prompt.target, branches, device)
    only_full = _Step.make(model, prompt.target, branches[:1], device)
    times = sampling_times(config.steps, config.shift).tolist()
    x_nC = noise_nC.float()
    for number, (time, following) in enumerate(pairwise(times)):
        if config.is_guided(time):
            velocity_nC = guided(step.velocities(x_nC, time), config)
        else:
            velocity_nC = only_full.velocities(x_nC, time)[0]
        if watch is not None:
            watch(number, velocity_nC)
        x_nC = x_nC - velocity_nC * (time - following)
    return x_nC


def _branches(
    model: Bagel,
    prompt: Prompt,
    config: SamplerConfig,
    bridge: BridgeConfig | None,
    device: torch.device,
) -> list[Branch]:
    """The contexts with their caches: full, without text (references only), without images (text only)."""
    full = replace(prompt.tokens, targets=())
    layout, contexts = _context_layout(full, model, config.branches)
    inputs = pack_inputs(
        layout,
        patch_VC=prompt.patch_VC,
        latent_IC=prompt.latent_IC,
        noise_IC=[],
        time=[],
        device=device,
    )
    branches = [Branch(rows.to(device), position) for rows, position in contexts]
    prefill(model, inputs, prefix_attend(layout, device), branches, prompt.target.size + 2, bridge)
    return branches


def _context_layout(full: SampleTokens, model: Bagel, count: int) -> tuple[Layout, list[tuple[Tensor, int]]]:
    no_text, no_images = replace(full, text=None), replace(full, references=())
    samples = [full, no_images] if count == 3 else [full]
    layout = make_layout(samples, model.config)
    doc = layout.columns.doc
    # References never see the text, so the context without text is the full one's rows before it.
    masks = (doc == 0, (doc == 0) & ~layout.is_instruction, doc == 1)
    positions = (next_position(sample) for sample in (full, no_text, no_images))
    rows = [torch.from_numpy(mask).nonzero().flatten() for mask in masks]
    return layout, list(zip(rows, positions, strict=True))[:count]


def prefix_attend(layout: Layout, device: torch.device) -> PrefixAttend:
    """The attention of a layout without targets and without padding."""
    order = torch.from_numpy(layout.packed).argsort()
    columns = [torch.from_numpy(getattr(layout.columns, name))[order] for name in ("doc", "segment", "mode")]
    runs, lengths = torch.stack(columns, 1).unique_consecutive(dim=0, return_counts=True)
    spans, end, first, seen = [], 0, 0, -1
    for (doc, _, mode), length in zip(runs.tolist(), lengths.tolist(), strict=True):
        first, seen = (first if doc == seen else end), doc
        spans.append((first, end, end + length, mode == Mode.CAUSAL))
        end += length
    return PrefixAttend(order.to(device), tuple(spans))


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What every denoising step shares: boundary tokens, positions, places in the grid."""

    model: Bagel
    branches: list[Branch]
    und_UH: Tensor
    rope: tuple[Tensor, Tensor]
    latent_id_G: Tensor

    @classmethod
    def make(cls, model: Bagel, target: Grid, branches: list[Branch], device: torch.device) -> _Step:
        tokens, count = model.config.tokens, len(branches)
        ends = torch.tensor([tokens.start_of_image, tokens.end_of_image] * count, device=device)
        position = torch.tensor([branch.position for branch in branches], device=device)
        rows = torch.arange(target.height, device=device)[:, None] * model.config.latent.side
        latent_id = (rows + torch.arange(target.width, device=device)).flatten()
        return cls(
            model=model,
            branches=branches,
            und_UH=model.language_model.model.embed_tokens(ends),
            rope=model.rope(
                torch.cat([position.repeat_interleave(2), position.repeat_interleave(target.size)])
            ),
            latent_id_G=latent_id.repeat(count),
        )

    def velocities(self, x_nC: Tensor, time: float) -> list[Tensor]:
        """The velocity [n, C] of every branch at `time`."""
        model, count = self.model, len(self.branches)
        und, gen = self.und_UH, self._latent_rows(x_nC.repeat(count, 1), time)
        for number, layer in enumerate(model.language_model.model.layers):
            und, gen = layer(und, gen, self.rope, StepAttend(self.branches, number))
        return list(model.velocity(gen).float().chunk(count))

    def _latent_rows(self, x_GC: Tensor, time: float) -> Tensor:
        time_I = torch.tensor([time], device=x_GC.device)
        same = torch.zeros_like(self.latent_id_G)
        return self.model.latent_embed(x_GC, time_I, same, self.latent_id_G, torch.ones_like(same))
