"""The sampler's test vectors, for `train.golden`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from train.guidance import SamplerConfig
from train.model import Bagel
from train.patches import to_tokens
from train.sample import Prompt, sample_latents
from train.segments import Grid, ReferenceTokens, SampleTokens


def golden_prompt(about: dict[str, Any], vectors: dict[str, Tensor]) -> Prompt:
    """The prompt of a sampler set."""
    patch, count = about["dims"]["latent_patch"], len(about["refs"])
    references = [
        ReferenceTokens(latent=Grid(*ref["latent_tokens_hw"]), vit=Grid(*ref["vit_patches_hw"]))
        for ref in about["refs"]
    ]
    return Prompt(
        tokens=SampleTokens(references=references, text=about["text"], targets=()),
        patch_VC=torch.cat([vectors[f"ref{i}/vit_patches"] for i in range(count)]),
        latent_IC=[to_tokens(vectors[f"ref{i}/latent"], patch) for i in range(count)],
        target=Grid(*about["target_tokens_hw"]),
    )


def golden_sampler(about: dict[str, Any]) -> SamplerConfig:
    """The settings of a sampler set."""
    return SamplerConfig(
        steps=about["num_timesteps"],
        shift=about["timestep_shift"],
        text_scale=about["cfg_text_scale"],
        image_scale=about["cfg_img_scale"],
        renorm=about["cfg_renorm_type"],
        renorm_min=about["cfg_renorm_min"],
        interval=tuple(about["cfg_interval"]),
    )


def sampler_errors(model: Bagel, about: dict[str, Any], vectors: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of velocities and of final latents."""
    velocities: list[Tensor] = []
    device = model.llm2vae.weight.device
    final = sample_latents(
        model,
        golden_prompt(about, vectors),
        vectors["init_noise"].to(device),
        golden_sampler(about),
        watch=lambda _step, velocity: velocities.append(velocity),
    )
    found = {"velocities": torch.stack(velocities), "final latents": final}
    names = {"velocities": "velocity_steps", "final latents": "final_latent_tokens"}
    return {name: (value.cpu() - vectors[names[name]]).abs().max().item() for name, value in found.items()}
