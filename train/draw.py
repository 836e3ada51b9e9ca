"""An image from reference images and an instruction: prompts, seeds, decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from train.batch import encode
from train.bridge_config import BridgeConfig
from train.config import ModelConfig
from train.guidance import SamplerConfig
from train.keyed import keyed_normal
from train.model import Bagel
from train.patches import from_tokens, to_tokens
from train.pixels import as_unit, resized_pixels, to_image
from train.resize import resized_hw
from train.sample import Prompt, sample_latents
from train.segments import Grid, ReferenceTokens, SampleTokens
from train.tokenizer import Tokenizer
from train.vae import Autoencoder


@dataclass(frozen=True, kw_only=True)
class Studio:
    """All that drawing needs, loaded once."""

    model: Bagel
    autoencoder: Autoencoder
    tokenizer: Tokenizer
    config: ModelConfig
    device: torch.device


@torch.no_grad()
def draw(
    studio: Studio,
    references: Sequence[Image.Image],
    instruction: str,
    size: tuple[int, int],
    key: str,
    sampler: SamplerConfig,
    bridge: BridgeConfig | None = None,
    seed: int = 0,
    *,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Image.Image:
    """Draw an image.

    Args:
        studio: model and encoders.
        references: RGB; none draws from the instruction alone.
        instruction: what to draw.
        size: wished (width, height) in pixels; the resize rule of targets has the last word.
        key: of the sample; with `seed` it alone decides the noise, whatever the number or order of others.
        sampler: steps and guidance.
        bridge: used where the sampler's settings say so.
        seed: of the run.
        watch: called with (step, guided velocity); what it raises ends the drawing.
    """
    prompt = make_prompt(studio, references, instruction, size, key, seed)
    noise = keyed_normal((prompt.target.size, studio.config.latent.token_size), seed, "draw", key, "noise")
    tokens = sample_latents(studio.model, prompt, noise.to(studio.device), sampler, bridge, watch=watch)
    latent = from_tokens(tokens, prompt.target, studio.config.latent.patch)
    return to_image(studio.autoencoder.decode(latent[None])[0])


def make_prompt(
    studio: Studio,
    references: Sequence[Image.Image],
    instruction: str,
    size: tuple[int, int],
    key: str,
    seed: int,
) -> Prompt:
    """References and instruction in tokens."""
    config = studio.config
    latents = [resized_pixels(image, config.vae_resize) for image in references]
    vits = [resized_pixels(image, config.vit_resize) for image in references]
    halves = [
        ReferenceTokens(latent=_grid(a, config.latent.token_px), vit=_grid(b, config.vision.patch_px))
        for a, b in zip(latents, vits, strict=True)
    ]
    text = studio.tokenizer.encode(instruction)
    height, width = resized_hw(*size, config.vae_resize)
    return Prompt(
        tokens=SampleTokens(references=halves, text=text, targets=(), key=key),
        patch_VC=_patches(vits, config).to(studio.device),
        latent_IC=[_latent(studio, image, key, seed, number) for number, image in enumerate(latents)],
        target=Grid(height // config.latent.token_px, width // config.latent.token_px),
    )


def _patches(vits: Sequence[Tensor], config: ModelConfig) -> Tensor:
    empty = torch.zeros(0, 3 * config.vision.patch_px**2)
    return torch.cat([empty, *(to_tokens(as_unit(image), config.vision.patch_px) for image in vits)])


def _latent(studio: Studio, pixels: Tensor, key: str, seed: int, number: int) -> Tensor:
    latent = studio.config.latent
    shape = (latent.channels, pixels.shape[1] // latent.downsample, pixels.shape[2] // latent.downsample)
    noise = keyed_normal(shape, seed, "draw", key, "posterior", number)
    return encode(studio.autoencoder, pixels, noise, latent.patch, studio.device)


def _grid(image: Tensor, token_px: int) -> Grid:
    return Grid(image.shape[1] // token_px, image.shape[2] // token_px)
