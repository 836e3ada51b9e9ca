"""Images and latents as tokens and back."""

from __future__ import annotations

from torch import Tensor

from train.segments import Grid

# C channels, H and W pixels, P side of a patch, N tokens (row-major)


def to_tokens(image_CHW: Tensor, patch: int) -> Tensor:
    """Patches as tokens [N, P * P * C]; inside a token (row, column, channel), channel fastest."""
    channels, height, width = image_CHW.shape
    grid = image_CHW.view(channels, height // patch, patch, width // patch, patch)
    return grid.permute(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)


def from_tokens(token_NC: Tensor, grid: Grid, patch: int) -> Tensor:
    """The inverse of `to_tokens`: [C, H, W]."""
    parts = token_NC.view(grid.height, grid.width, patch, patch, -1)
    return parts.permute(4, 0, 2, 1, 3).reshape(-1, grid.height * patch, grid.width * patch)
