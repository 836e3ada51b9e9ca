"""How many operations a pack asks of the model: what trains, what is seen, nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from train.config import ModelConfig
from train.plan import sample_size
from train.segments import Grid, SampleTokens

# Dense bfloat16 peaks of the data sheets, operations a second, without sparsity.
PEAKS = {"H100": 989e12, "H200": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12}
FLUX_ENCODE_PER_PIXEL = 4.9e12 / 1024**2  # counted over the encoder (facts 3.7)
ENDS = 2  # boundary tokens of an image
KEYS_VALUES = 2


def peak(device_name: str) -> float | None:
    """The peak of a GPU by its name; None where it is not known (then no MFU is reported)."""
    return next((value for name, value in PEAKS.items() if name in device_name), None)


def layer_parameters(config: ModelConfig) -> int:
    """Matmul parameters that a token meets in one layer: one expert's."""
    language = config.language
    return 2 * language.hidden**2 + kv_parameters(config) + 3 * language.hidden * language.intermediate


def kv_parameters(config: ModelConfig) -> int:
    language = config.language
    return KEYS_VALUES * language.hidden * language.kv_heads * language.head_dim


def pack_flops(config: ModelConfig, samples: Sequence[SampleTokens], trains: Collection[str]) -> float:
    """Operations of one pack's forward and backward pass; recomputation is not counted.

    2 per parameter and token forward, 2 for gradients of activations, 2 more where the expert trains;
    12 per visible pair, head and number of a head (4 forward, 8 backward); encoders forward only. Of the
    last layer what is run: keys and values of every token, the rest for targets. Source: facts 3.4.

    Args:
        samples: as they are in the pack: what was left out of them costs nothing.
        trains: groups whose weights get gradients; none under adapters, whose own part is left out.
    """
    language = config.language
    sizes = [sample_size(sample) for sample in samples]
    generated = sum(grid.size for sample in samples for grid in (*_latents(sample), *sample.targets))
    understood = sum(size.tokens for size in sizes) - generated
    targets = sum(size.targets for size in sizes)
    und, gen = (4 + 2 * (group in trains) for group in ("und_layers", "gen_layers"))
    all_tokens, whole, kv = (
        und * understood + gen * generated,
        layer_parameters(config),
        kv_parameters(config),
    )
    dense = all_tokens * (whole * (language.layers - 1) + kv) + gen * targets * (whole - kv)
    pairs = sum(size.pairs for size in sizes) * (language.layers - 1) + sum(map(_target_pairs, samples))
    attention = 12 * language.heads * language.head_dim * pairs
    return dense + attention + _vit_flops(config, samples) + _vae_flops(config, samples)


def _latents(sample: SampleTokens) -> list[Grid]:
    return [reference.latent for reference in sample.references if reference.latent is not None]


def _target_pairs(sample: SampleTokens) -> int:
    """Visible pairs whose query is a target's latent."""
    tokens = sample_size(sample).tokens
    context = tokens - sum(grid.size + ENDS for grid in sample.targets)
    return sum(grid.size * (context + grid.size + ENDS) for grid in sample.targets)


def _vit_flops(config: ModelConfig, samples: Sequence[SampleTokens]) -> float:
    vision = config.vision
    per_token = 2 * (4 * vision.hidden**2 + 2 * vision.hidden * vision.intermediate) * vision.layers
    lengths = [one.vit.size for sample in samples for one in sample.references if one.vit is not None]
    return sum(n * per_token + 4 * vision.layers * vision.hidden * n * n for n in lengths)


def _vae_flops(config: ModelConfig, samples: Sequence[SampleTokens]) -> float:
    """A target is encoded once, however many noise draws are made of it."""
    tokens = sum(grid.size for sample in samples for grid in (*_latents(sample), *sample.targets[:1]))
    pixels = tokens * config.latent.token_px**2
    return pixels * FLUX_ENCODE_PER_PIXEL if config.autoencoder == "flux" else 0.0
