"""Where a token stands: rotary angles of the sequence, fixed sine tables of the image grids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# T tokens, D head size, S grid side, H hidden size


def rope_angles(position_T: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every token's angles, each [T, D] float32, for `rotate`."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, device=position_T.device).float() / head_dim)
    angle_TD = torch.outer(position_T.float(), frequency).repeat(1, 2)
    return angle_TD.cos(), angle_TD.sin()


def rotate(x_TND: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding in half-rotation form, computed in float32, in `x`'s dtype on return."""
    cos, sin = (part.unsqueeze(1) for part in rope)
    x = x_TND.float()
    low, high = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-high, low], dim=-1) * sin).to(x_TND.dtype)


def sine_table(side: int, hidden: int) -> Tensor:
    """The fixed table of a `side` x `side` grid, [S*S, H] float32; the **column** fills the first half.

    Source: facts 1.4; computed in float64, as the released tables were.
    """
    quarter = hidden // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.outer(torch.arange(side, dtype=torch.float64), frequency)
    half_SH = torch.cat([angle.sin(), angle.cos()], dim=1)
    column, row = half_SH.repeat(side, 1), half_SH.repeat_interleave(side, dim=0)
    return torch.cat([column, row], dim=1).float()


class SineTable(nn.Module):
    """A fixed table under the released name `pos_embed`. A buffer: nothing trains or shards it."""

    pos_embed: Tensor

    def __init__(self, side: int, hidden: int) -> None:
        super().__init__()
        self.side, self.hidden = side, hidden
        self.register_buffer("pos_embed", sine_table(side, hidden))

    def reset(self) -> None:
        """Compute the table anew, where the module was made on the meta device."""
        self.pos_embed.copy_(sine_table(self.side, self.hidden))

    def forward(self, id_T: Tensor) -> Tensor:
        return self.pos_embed[id_T]


class TimeEmbedder(nn.Module):
    """A time in [0, 1] as a vector. Source: facts 1.4 (cosines first; no factor of 1000)."""

    FREQUENCIES = 128

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * self.FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )

    def forward(self, time_I: Tensor) -> Tensor:
        exponent = torch.arange(self.FREQUENCIES, device=time_I.device).float() / self.FREQUENCIES
        angle = torch.outer(time_I.float(), 10000.0**-exponent)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=1).to(self.mlp[0].weight.dtype))
