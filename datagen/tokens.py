"""What a sample costs the Scone and BAGEL trainers in tokens; one that is too long they skip in silence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Size = tuple[int, int]

# Source: facts/data.md 1.6, the released training settings.
TOKENS = 26_496
BYTES_A_TOKEN = (
    3  # of UTF-8; English has about 4 with Qwen's tokenizer, so this counts too much, not too little
)


@dataclass(frozen=True)
class Grid:
    """How an encoder sees an image: sides scaled between two bounds, then cut into patches."""

    least_px: int
    most_px: int
    stride_px: int

    def tokens(self, size: Size) -> int:
        """Patches of an image of `size` (width, height).

        >>> VAE.tokens((1024, 1024)), VIT.tokens((1024, 1024)), VAE.tokens((4096, 512))
        (4096, 1369, 512)
        """
        scale = min(self.most_px / max(size), 1.0)
        scale = max(scale, self.least_px / min(size))
        sides = [self._side(side * scale) for side in size]
        if max(sides) > self.most_px:
            sides = [self._side(side * self.most_px / max(sides)) for side in sides]
        return (sides[0] // self.stride_px) * (sides[1] // self.stride_px)

    def _side(self, length_px: float) -> int:
        return max(round(length_px / self.stride_px), 1) * self.stride_px


VAE = Grid(512, 1024, 16)
VIT = Grid(224, 518, 14)


def sample_tokens(references: Iterable[Size], target: Size, instruction: str) -> int:
    """Tokens of a sample: each reference twice (VAE and ViT), the target once, the text about.

    >>> sample_tokens([(1024, 1024)] * 4, (1024, 1024), "")
    25956
    """
    images = sum(VAE.tokens(size) + VIT.tokens(size) for size in references) + VAE.tokens(target)
    return images - (-len(instruction.encode()) // BYTES_A_TOKEN)
