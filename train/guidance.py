"""Classifier-free guidance: how the three branches' velocities become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # recipes are checked where torch is not installed
    from torch import Tensor

# n latent tokens, C numbers of a token

RENORMALIZATIONS = ("text_channel", "channel", "global")


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """The sampler's settings. Defaults: the released benchmark script's (facts 6).

    Attributes:
        steps: points in time; one less Euler step is made.
        shift: moves the points towards noise.
        text_scale, image_scale: 1 is no guidance.
        renorm: `text_channel` (per token, before image guidance), `channel` (per token, after both) or
            `global` (one factor for the image).
        renorm_min: the factor is in renorm_min..1.
        interval: guidance acts at times above the first and up to the second.
        uses_bridge: apply the bridge while sampling; the released code never does.
    """

    steps: int = 50
    shift: float = 3.0
    text_scale: float = 4.0
    image_scale: float = 2.0
    renorm: str = "text_channel"
    renorm_min: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    uses_bridge: bool = False

    def problems(self) -> list[str]:
        """What cannot be sampled."""
        found = []
        if self.steps < 2:
            found.append(f"sampler.steps: expected 2 points in time or more, got {self.steps!r}")
        if self.renorm not in RENORMALIZATIONS:
            found.append(
                f"sampler.renorm: expected one of {', '.join(RENORMALIZATIONS)}, got {self.renorm!r}"
            )
        return found + [
            f"sampler.{name}: expected more than 0, got {getattr(self, name)!r}"
            for name in ("shift", "text_scale", "image_scale")
            if getattr(self, name) <= 0
        ]

    def is_guided(self, time: float) -> bool:
        """Whether guidance acts at this time."""
        low, high = self.interval
        return low < time <= high and self.branches > 1

    @property
    def branches(self) -> int:
        """Contexts to run: full, without text, without images. Image guidance builds on text guidance."""
        if self.text_scale <= 1:
            return 1
        return 3 if self.image_scale > 1 else 2


def guided(velocities: list[Tensor], config: SamplerConfig) -> Tensor:
    """One velocity [n, C] of those with the full context, without text and (optional) without images.

    Source: facts 6.
    """
    full, no_text = velocities[:2]
    text_guided = no_text + config.text_scale * (full - no_text)
    if config.renorm == "text_channel":
        text_guided = _no_longer_than(full, text_guided, config)
    if len(velocities) < 3:
        both = text_guided
    else:
        both = velocities[2] + config.image_scale * (text_guided - velocities[2])
    return both if config.renorm == "text_channel" else _no_longer_than(full, both, config)


def _no_longer_than(reference_nC: Tensor, value_nC: Tensor, config: SamplerConfig) -> Tensor:
    dims = None if config.renorm == "global" else -1
    want, have = (x.norm(dim=dims, keepdim=True) for x in (reference_nC, value_nC))
    return value_nC * (want / (have + 1e-8)).clamp(config.renorm_min, 1.0)
