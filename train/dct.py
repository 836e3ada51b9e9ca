"""An autoencoder without weights, for the tiny model: the low cosine frequencies of 8 x 8 pixel blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# B images, H and W pixels, h and w blocks, F frequencies of a block

BLOCK = 8
ZIGZAG = ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2))
LUMA, CHROMA = 8, 4  # frequencies kept of brightness, and of each of the two colour differences: 16 in all
LOG_VARIANCE = -30.0  # a posterior without width: sampling it is exact to float32
# BT.601, as JPEG has it.
COLOURS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def cosine_basis() -> Tensor:
    """The orthonormal cosine basis of 8 numbers, [frequency, place]."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi / BLOCK * torch.outer(place, place + 0.5)) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis


class DctAutoencoder(nn.Module):
    """16 channels at an eighth of the size, as the FLUX autoencoder; see `train.vae.Autoencoder`."""

    filters: Tensor
    inverse: Tensor

    def __init__(self) -> None:
        super().__init__()
        forward, back = _filters()
        self.register_buffer("filters", forward.float(), persistent=False)
        self.register_buffer("inverse", back.float(), persistent=False)

    def moments(self, image_BCHW: Tensor) -> Tensor:
        mean = nn.functional.conv2d(image_BCHW.float(), self.filters, stride=BLOCK)
        return torch.cat([mean, torch.full_like(mean, LOG_VARIANCE)], dim=1)

    def latent(self, moments: Tensor, noise_BChw: Tensor) -> Tensor:
        mean, log_variance = moments.chunk(2, dim=1)
        return mean + torch.exp(0.5 * log_variance) * noise_BChw

    def decode(self, latent_BChw: Tensor) -> Tensor:
        return nn.functional.conv_transpose2d(latent_BChw.float(), self.inverse, stride=BLOCK)


def _filters() -> tuple[Tensor, Tensor]:
    """Convolutions [16, 3, 8, 8] to latents and back; latents of pictures are about unit wide."""
    basis, colours = cosine_basis(), torch.tensor(COLOURS, dtype=torch.float64)
    to_rgb = torch.linalg.inv(colours)
    forward, back = [], []
    for channel, count in ((0, LUMA), (1, CHROMA), (2, CHROMA)):
        for row, column in ZIGZAG[:count]:
            patch = torch.outer(basis[row], basis[column])
            gain = _gain(channel, row + column)
            forward.append(colours[channel][:, None, None] * patch * gain)
            back.append(to_rgb[:, channel][:, None, None] * patch / gain)
    return torch.stack(forward), torch.stack(back)


def _gain(channel: int, order: int) -> float:
    # One over the spread of each coefficient on smooth pictures (see tests/train/test_dct.py):
    # pictures fall off about as 1 / frequency, colour differences carry about a third of brightness.
    width = (4.0 if channel == 0 else 1.2) / (1 if order == 0 else 3.0 * order)
    return 1 / width
