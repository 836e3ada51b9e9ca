"""A pack of samples as tensors; every random number is keyed by where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shards.sample import Json, Sample
from shards.stage import keyed_random
from train.config import ModelConfig
from train.flow import draw_time
from train.inputs import PackInputs, pack_inputs
from train.keyed import keyed_normal
from train.layout import Layout, make_layout
from train.patches import to_tokens
from train.pixels import as_unit, decode, resized_pixels
from train.segments import Grid, ReferenceTokens, SampleTokens, token_count
from train.tokenizer import Tokenizer
from train.vae import Autoencoder

# V ViT patches, C numbers of a patch or token, n tokens of an image


@dataclass(frozen=True, kw_only=True)
class Noising:
    """How a pack's randomness is drawn: chances of leaving out, shift of times, and the words that key it.

    Attributes:
        key: (seed, purpose, step, pack), so that no two packs share a stream.
        noise_draws: targets of a sample, each with its own noise and time.
        times: one for each draw; None draws them.
    """

    key: tuple[Json, ...]
    text_dropout: float = 0.0
    image_dropout: float = 0.0
    timestep_shift: float = 1.0
    noise_draws: int = 1
    times: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A pack on the host: its layout, pixels and noise.

    Attributes:
        patch_VC: ViT patches, uint8.
        pixels: of latent images, references first, then targets (once each, however many noise draws), uint8.
        posterior: of each latent image, noise for the autoencoder's sample.
        noise: of each target.
        time: of each target.
        draws: noise draws of each target image.
        samples: in tokens, without what was left out of them.
    """

    layout: Layout
    patch_VC: Tensor
    pixels: list[Tensor]
    posterior: list[Tensor]
    noise: list[Tensor]
    time: Tensor
    draws: int
    samples: tuple[SampleTokens, ...]

    @property
    def tokens(self) -> int:
        """Rows of the pack, padding not counted."""
        return sum(token_count(sample) for sample in self.samples)


def make_batch(
    samples: Sequence[Sample], config: ModelConfig, tokenizer: Tokenizer, noising: Noising, align: int = 1
) -> Batch:
    """Samples as a pack.

    Args:
        samples: in the order of the pack.
        config: for sizes and tokens.
        tokenizer: for instructions.
        noising: the pack's randomness.
        align: see `train.layout.make_layout`.

    Raises:
        OSError: an image breaks off; the note says which.
    """
    prepared = [_prepare(sample, number, config, tokenizer, noising) for number, sample in enumerate(samples)]
    layout = make_layout([one.tokens for one in prepared], config, align)
    pixels = [image for one in prepared for image in one.references] + [one.target for one in prepared]
    draws = [(number, draw) for number in range(len(prepared)) for draw in range(noising.noise_draws)]
    return Batch(
        layout=layout,
        patch_VC=_patches(prepared, config),
        pixels=pixels,
        posterior=[
            keyed_normal(_latent_shape(image, config), *noising.key, place, "posterior")
            for place, image in enumerate(pixels)
        ],
        noise=[
            keyed_normal((grid.size, config.latent.token_size), *noising.key, number, "noise", draw)
            for grid, (number, draw) in zip(layout.target_grids, draws, strict=True)
        ],
        time=_times(draws, noising),
        draws=noising.noise_draws,
        samples=tuple(one.tokens for one in prepared),
    )


def _times(draws: Sequence[tuple[int, int]], noising: Noising) -> Tensor:
    if noising.times is not None:
        return torch.tensor([noising.times[draw] for _, draw in draws])
    raw = [keyed_normal((1,), *noising.key, number, "time", draw) for number, draw in draws]
    return draw_time(torch.cat(raw), noising.timestep_shift)


def _latent_shape(image: Tensor, config: ModelConfig) -> tuple[int, int, int]:
    side = config.latent.downsample
    return config.latent.channels, image.shape[1] // side, image.shape[2] // side


def _patches(prepared: Sequence[_Prepared], config: ModelConfig) -> Tensor:
    empty = torch.zeros(0, 3 * config.vision.patch_px**2, dtype=torch.uint8)
    return torch.cat([empty, *(patch for one in prepared for patch in one.patches)])


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    tokens: SampleTokens
    patches: list[Tensor]
    references: list[Tensor]
    target: Tensor


def _prepare(
    sample: Sample, number: int, config: ModelConfig, tokenizer: Tokenizer, noising: Noising
) -> _Prepared:
    chance = keyed_random(*noising.key, number, "dropout")
    text = None if chance.random() < noising.text_dropout else tokenizer.encode(sample.instruction)
    halves, patches, references = [], [], []
    for place, encoded in enumerate(sample.references):
        image = decode(encoded, f"sample {sample.key}: ref{place}")
        keeps = [chance.random() >= noising.image_dropout for _ in range(2)]
        latent = resized_pixels(image, config.vae_resize) if keeps[0] else None
        vit = resized_pixels(image, config.vit_resize) if keeps[1] else None
        halves.append(
            ReferenceTokens(
                latent=_grid(latent, config.latent.token_px), vit=_grid(vit, config.vision.patch_px)
            )
        )
        references += [] if latent is None else [latent]
        patches += [] if vit is None else [to_tokens(vit, config.vision.patch_px)]
    target = resized_pixels(decode(sample.target, f"sample {sample.key}: target"), config.vae_resize)
    grid = _grid(target, config.latent.token_px)
    tokens = SampleTokens(references=halves, text=text, targets=[grid] * noising.noise_draws, key=sample.key)
    return _Prepared(tokens=tokens, patches=patches, references=references, target=target)


def _grid(image: Tensor | None, token_px: int) -> Grid | None:
    return None if image is None else Grid(image.shape[1] // token_px, image.shape[2] // token_px)


@torch.no_grad()
def to_device(
    batch: Batch, autoencoder: Autoencoder, config: ModelConfig, device: torch.device, block: int | None
) -> PackInputs:
    """Encode a batch's images on the device, one by one, and put the pack together.

    One by one, because an image's latents depend on any padding it is given to match its neighbours
    (facts D13).

    Args:
        block: flex attention's block; None for dense masks.
    """
    latents = [
        encode(autoencoder, image, noise, config.latent.patch, device)
        for image, noise in zip(batch.pixels, batch.posterior, strict=True)
    ]
    references = len(batch.layout.latent_grids)
    targets = [latent for latent in latents[references:] for _ in range(batch.draws)]
    return pack_inputs(
        batch.layout,
        patch_VC=as_unit(batch.patch_VC.to(device, non_blocking=True)),
        latent_IC=latents[:references] + targets,
        noise_IC=batch.noise,
        time=batch.time,
        block=block,
        device=device,
    )


def encode(
    autoencoder: Autoencoder, pixels: Tensor, noise: Tensor, patch: int, device: torch.device
) -> Tensor:
    """Latent tokens [n, C] float32 of one image [3, H, W] uint8."""
    image = as_unit(pixels.to(device, non_blocking=True))[None]
    latent = autoencoder.latent(autoencoder.moments(image), noise.to(device, non_blocking=True)[None])
    return to_tokens(latent[0], patch)
