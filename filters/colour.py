"""Whether two cut-outs have the same colours, the light of the scene allowed for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from filters.alignment import Overlay
from filters.cutouts import Cutout

Array: TypeAlias = NDArray[np.float32]

HUES = 18
GREYS = 4
SURE = 0.9  # alpha above which a pixel shows the thing and nothing of its surroundings
MIN_PIXELS = 20
# The light of a scene multiplies all channels nearly alike; a gain outside of these would be paint.
GAIN_BOUNDS = (0.8, 1.25)
UNKNOWN = 255.0


@dataclass(frozen=True)
class ColourDifference:
    """How far a reference laid over a target differs from it, in 0..255 where they overlap.

    Attributes:
        raw: mean absolute difference of RGB.
        residual: the same after the gain per channel that explains most of it.
        chroma: mean absolute difference of R - G and G - B, which light dims but hardly turns.
        worst: the same, of the tenth of the pixels that differ most.
        tint: spread of the three gains.
    """

    raw: float = UNKNOWN
    residual: float = UNKNOWN
    chroma: float = UNKNOWN
    worst: float = UNKNOWN
    tint: float = 1.0


def compare_colours(overlay: Overlay, target: Cutout) -> ColourDifference:
    """Pixel against pixel, where both surely stand."""
    both = np.minimum(overlay.alpha, target.alpha) > SURE
    if both.sum() < MIN_PIXELS:
        return ColourDifference()
    reference, shown = overlay.colours[both], target.colours[both]
    gains = (shown * reference).sum(0) / np.maximum((reference**2).sum(0), 1.0)
    lit = reference * np.clip(gains, *GAIN_BOUNDS)
    chroma = np.abs(
        _opponents(shown) - _opponents(lit.mean(-1, keepdims=True) / _mean(reference) * reference)
    )
    chroma = chroma.mean(-1)
    return ColourDifference(
        raw=float(np.abs(shown - reference).mean()),
        residual=float(np.abs(shown - lit).mean()),
        chroma=float(chroma.mean()),
        worst=float(np.sort(chroma)[-max(len(chroma) // 10, 1) :].mean()),
        tint=float(np.ptp(np.clip(gains, 0, 3))),
    )


def _mean(colours: Array) -> Array:
    return np.asarray(np.maximum(colours.mean(-1, keepdims=True), 1.0))


def _opponents(colours: Array) -> Array:
    return np.asarray(colours[..., :2] - colours[..., 1:], dtype=np.float32)


def hue_histogram(cutout: Cutout) -> Array:
    """Shares of hues, each pixel by its saturation, and of greys by the rest; sums to 1.

    Source: facts/assets.md: with this beside the features colour families of one shape were told apart.
    """
    sure = cutout.alpha > 0.5
    return histogram(cutout.colours[sure], cutout.alpha[sure])


def histogram(colours: Array, weight: Array) -> Array:
    """The histogram of `hue_histogram` for colours [N, 3] with weights [N]."""
    high, low = colours.max(-1, initial=0), colours.min(-1, initial=255)
    spread = np.maximum(high - low, 1e-3)
    saturation = np.clip((high - low) / np.maximum(high, 1.0), 0, 1) * np.clip(high / 64, 0, 1)
    counts = _soft_counts(_hue(colours, high, spread) * HUES, saturation * weight, HUES)
    greys = np.clip((high / 256 * GREYS).astype(np.intp), 0, GREYS - 1)
    shades = np.bincount(greys, (1 - saturation) * weight, GREYS)
    both = np.concatenate([counts, shades])
    return np.asarray(both / max(float(both.sum()), 1e-3), dtype=np.float32)


def _hue(colours: Array, high: Array, spread: Array) -> Array:
    """In 0..1."""
    red, green, blue = colours[:, 0], colours[:, 1], colours[:, 2]
    of_red = ((green - blue) / spread) % 6
    of_green, of_blue = (blue - red) / spread + 2, (red - green) / spread + 4
    return np.asarray(np.where(high == red, of_red, np.where(high == green, of_green, of_blue)) / 6)


def _soft_counts(position: Array, weight: Array, bins: int) -> Array:
    """Each weight shared between the two bins its position lies between."""
    left = np.floor(position - 0.5)
    share = position - 0.5 - left
    first = np.bincount(left.astype(np.intp) % bins, weight * (1 - share), bins)
    second = np.bincount((left.astype(np.intp) + 1) % bins, weight * share, bins)
    return np.asarray(first + second)


def intersection(one: Array, other: Array) -> float:
    """Of two histograms, 0..1."""
    return float(np.minimum(one, other).sum())
