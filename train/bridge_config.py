"""The bridge's settings and their presets; imports no torch, so that a recipe can be checked anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from train.config import ConfigError, LanguageConfig


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """Where relevance is read, which layers it masks, what passes.

    Attributes:
        relevance_layer: relevance is read from the residual stream after this layer (from 0).
        first_layer, last_layer: the masked layers, both included.
        rule: `fixed` (a threshold) or `quantile` (the best `keep_frac` of each half of a reference image,
            which cannot drift with the hidden states).
        threshold: a token passes from here on (`is_strict`: only above).
        is_bfloat16: compare in bfloat16, as the release does: 0.88 then cuts at about 0.877.
        fallback_frac: the share of tokens that an image keeps which nothing of would pass. 0: it is hidden.
    """

    relevance_layer: int = 8
    first_layer: int = 9
    last_layer: int = 16
    rule: str = "fixed"
    threshold: float = 0.88
    keep_frac: float = 0.5
    is_strict: bool = False
    is_bfloat16: bool = False
    fallback_frac: float = 0.0

    @property
    def layers(self) -> range:
        return range(self.first_layer, self.last_layer + 1)

    def problems(self, language: LanguageConfig) -> list[str]:
        """What cannot work with this language model."""
        found = []
        if not 0 <= self.relevance_layer < self.first_layer <= self.last_layer < language.layers:
            found.append(
                "bridge: expected relevance_layer < first_layer <= last_layer < "
                f"{language.layers} layers, got {(self.relevance_layer, self.first_layer, self.last_layer)!r}"
            )
        if self.rule not in ("fixed", "quantile"):
            found.append(f"bridge.rule: expected fixed or quantile, got {self.rule!r}")
        if not -1 <= self.threshold <= 1:
            found.append(f"bridge.threshold: expected a cosine in -1..1, got {self.threshold!r}")
        return found + [
            f"bridge.{name}: expected a share in 0..1, got {getattr(self, name)!r}"
            for name in ("keep_frac", "fallback_frac")
            if not 0 <= getattr(self, name) <= 1
        ]


BRIDGE_PRESETS = {
    # The paper's text: layers 9-15, s <= tau is masked, tau = 0.88.
    "paper": BridgeConfig(last_layer=15, is_strict=True),
    # The released code: layers 9-16, >= is kept, everything in bfloat16.
    "released": BridgeConfig(is_bfloat16=True),
    # The released layers in float32; an image that would vanish keeps its best tenth (facts 2.1.7).
    "recommended": BridgeConfig(fallback_frac=0.1),
}


def bridge_preset(name: str) -> BridgeConfig:
    """A preset by name.

    Raises:
        ConfigError: no such preset.
    """
    if name not in BRIDGE_PRESETS:
        raise ConfigError(f"bridge: expected one of {', '.join(BRIDGE_PRESETS)}, got {name!r}")
    return BRIDGE_PRESETS[name]
