"""How many operations a pack asks of the model: what trains, what is seen, nothing twice."""

from __future__ import annotations

from collections.abc import Collection

from train.config import ModelConfig
from train.plan import Pack

# Dense bfloat16 peaks of the data sheets, operations a second, without sparsity.
PEAKS = {"H100": 989e12, "H200": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12}
FLUX_ENCODE_PER_PIXEL = 4.9e12 / 1024**2  # counted over the encoder (facts 3.7)
ENDS = 2  # boundary tokens of an image


def peak(device_name: str) -> float | None:
    """The peak of a GPU by its name; None where it is not known (then no MFU is reported)."""
    return next((value for name, value in PEAKS.items() if name in device_name), None)


def layer_parameters(config: ModelConfig) -> int:
    """Matmul parameters that a token meets in one layer: one expert's."""
    language = config.language
    kv = language.kv_heads * language.head_dim
    return 2 * language.hidden**2 + 2 * language.hidden * kv + 3 * language.hidden * language.intermediate


def pack_flops(
    config: ModelConfig, pack: Pack, und_tokens: int, vit_lengths: Collection[int], trains: Collection[str]
) -> float:
    """Operations of one pack's forward and backward pass; recomputation is not counted.

    2 per parameter and token forward, 2 for gradients of activations, 2 more where the expert trains;
    12 per visible pair, head and number of a head (4 forward, 8 backward); encoders forward only.
    Source: facts 3.4.
    """
    language = config.language
    gen_tokens = pack.tokens - und_tokens
    wgrads = [2 if group in trains else 0 for group in ("und_layers", "gen_layers")]
    per_layer = und_tokens * (4 + wgrads[0]) + gen_tokens * (4 + wgrads[1])
    dense = per_layer * layer_parameters(config) * language.layers
    attention = 12 * language.layers * language.heads * language.head_dim * pack.pairs
    return dense + attention + _vit_flops(config, vit_lengths) + _vae_flops(config, gen_tokens)


def _vit_flops(config: ModelConfig, lengths: Collection[int]) -> float:
    vision = config.vision
    per_token = 2 * (4 * vision.hidden**2 + 2 * vision.hidden * vision.intermediate) * vision.layers
    return sum(n * per_token + 4 * vision.layers * vision.hidden * n * n for n in lengths)


def _vae_flops(config: ModelConfig, latent_tokens: int) -> float:
    pixels = latent_tokens * config.latent.token_px**2
    return pixels * FLUX_ENCODE_PER_PIXEL if config.autoencoder == "flux" else 0.0
