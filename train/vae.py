"""The FLUX autoencoder: images to latents and back, named as in `ae.safetensors`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

# B images, C channels, h and w latent pixels (an eighth of the image's)


class Autoencoder(Protocol):
    """What training and sampling need of an autoencoder."""

    def moments(self, image_BCHW: Tensor) -> Tensor:
        """Mean and log-variance, [B, 2z, h, w], of images [B, 3, H, W] in [-1, 1], RGB."""

    def latent(self, moments: Tensor, noise_BChw: Tensor) -> Tensor:
        """A scaled sample, [B, z, h, w], of what `moments` gave; `noise` is standard normal."""

    def decode(self, latent_BChw: Tensor) -> Tensor:
        """Images [B, 3, H, W], about [-1, 1], of scaled latents."""


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """Sizes of the autoencoder. Defaults: FLUX.1's.

    Attributes:
        multipliers: channels of each resolution, times `channels`; each but the last halves the image.
        scale, shift: latents are scale * (z - shift).
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    latent_channels: int = 16
    scale: float = 0.3611
    shift: float = 0.1159


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def _conv(inside: int, outside: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, padding=1)


class ResBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inside), _conv(inside, outside)
        self.norm2, self.conv2 = _norm(outside), _conv(outside, outside)
        self.nin_shortcut = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(functional.silu(self.norm2(inner)))


class ImageAttention(nn.Module):
    """One head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(x)
        q, k, v = (conv(inner).flatten(2).transpose(1, 2).unsqueeze(1) for conv in (self.q, self.k, self.v))
        seen = functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(seen.squeeze(1).transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    """Block, attention, block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels)
        self.attn_1 = ImageAttention(channels)
        self.block_2 = ResBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    """Halve the image; padded on the right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution, and the way to the next."""

    def __init__(self, inside: int, outside: int, blocks: int) -> None:
        super().__init__()
        sizes = [inside] + [outside] * blocks
        self.block = nn.ModuleList(ResBlock(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name in ("downsample", "upsample"):
            x = getattr(self, name)(x) if hasattr(self, name) else x
        return x


class VaeEncoder(nn.Module):
    """Images to moments."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.channels * times for times in (1, *config.multipliers)]
        self.conv_in = _conv(3, widths[0])
        self.down = nn.ModuleList(Level(a, b, config.blocks) for a, b in pairwise(widths))
        for level, width in zip(self.down[:-1], widths[1:], strict=False):
            level.add_module("downsample", Downsample(width))
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv(widths[-1], 2 * config.latent_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(functional.silu(self.norm_out(self.mid(x))))


class VaeDecoder(nn.Module):
    """Latents to images. `up.0` is the finest resolution, and runs last."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.channels * times for times in config.multipliers]
        self.conv_in = _conv(config.latent_channels, widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(inside, width, config.blocks + 1)
            for inside, width in zip([*widths[1:], widths[-1]], widths, strict=True)
        )
        for level, width in zip(self.up[1:], widths[1:], strict=True):
            level.add_module("upsample", Upsample(width))
        self.norm_out = _norm(widths[0])
        self.conv_out = _conv(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(functional.silu(self.norm_out(x)))


class FluxVae(nn.Module):
    """The autoencoder. Frozen everywhere; see `Autoencoder` for what its functions take and give."""

    def __init__(self, config: VaeConfig | None = None) -> None:
        super().__init__()
        self.config = config or VaeConfig()
        self.encoder, self.decoder = VaeEncoder(self.config), VaeDecoder(self.config)

    def moments(self, image_BCHW: Tensor) -> Tensor:
        return self.encoder(image_BCHW.to(self.encoder.conv_in.weight.dtype))

    def latent(self, moments: Tensor, noise_BChw: Tensor) -> Tensor:
        mean, log_variance = moments.float().chunk(2, dim=1)
        sample = mean + torch.exp(0.5 * log_variance) * noise_BChw
        return self.config.scale * (sample - self.config.shift)

    def decode(self, latent_BChw: Tensor) -> Tensor:
        z = latent_BChw / self.config.scale + self.config.shift
        return self.decoder(z.to(self.decoder.conv_in.weight.dtype))
