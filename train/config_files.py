"""The JSON files of a model directory: BAGEL's own, and `bakery.json` for what those leave to code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from train.config import (
    ConfigError,
    LanguageConfig,
    LatentConfig,
    ModelConfig,
    ResizeRule,
    SpecialTokens,
    VisionConfig,
)

T = TypeVar("T", int, float)

OWN_FILE = "bakery.json"
SIDECARS = ("llm_config.json", "vit_config.json", "config.json", OWN_FILE)


def read_config(directory: Path) -> ModelConfig:
    """The configuration of a model directory: BAGEL's JSON files and, where ours, `bakery.json`.

    Raises:
        ConfigError: a file is missing, or asks for something that this model is not.
    """
    language = _read_language(directory / "llm_config.json")
    vision, extra = _read_vision(directory / "vit_config.json"), _read_extra(directory)
    return ModelConfig(language=language, vision=vision, **extra).check()


def _read_language(path: Path) -> LanguageConfig:
    values = _read_json(path)
    for key, only in (("tie_word_embeddings", False), ("use_sliding_window", False), ("hidden_act", "silu")):
        if values.get(key, only) != only:
            raise ConfigError(f"{path}: {key}: expected {only!r}, the only one built, got {values[key]!r}")
    return LanguageConfig(
        hidden=_number(values, "hidden_size", int, path),
        layers=_number(values, "num_hidden_layers", int, path),
        heads=_number(values, "num_attention_heads", int, path),
        kv_heads=_number(values, "num_key_value_heads", int, path),
        intermediate=_number(values, "intermediate_size", int, path),
        vocab=_number(values, "vocab_size", int, path),
        rope_theta=_rope_theta(values, path),
        norm_eps=_number(values, "rms_norm_eps", float, path),
        max_positions=_number(values, "max_position_embeddings", int, path),
    )


def _rope_theta(values: Mapping[str, object], path: Path) -> float:
    # transformers 5 moved it: {"rope_parameters": {"rope_theta": ..., "rope_type": "default"}}.
    inner = values.get("rope_parameters")
    source = inner if isinstance(inner, dict) else values
    kind = source.get("rope_type", "default")
    if values.get("rope_scaling") or kind != "default":
        raise ConfigError(f"{path}: rope: expected plain RoPE, got {values.get('rope_scaling') or kind!r}")
    return _number(source, "rope_theta", float, path)


def _read_vision(path: Path) -> VisionConfig:
    values = _read_json(path)
    if values.get("rope", False):
        raise ConfigError(f"{path}: rope: expected false, the only one built, got {values['rope']!r}")
    patch = _number(values, "patch_size", int, path)
    return VisionConfig(
        hidden=_number(values, "hidden_size", int, path),
        # BAGEL reads the features before the last layer (vit_select_layer -2): 27 in the file, 26 built.
        layers=_number(values, "num_hidden_layers", int, path) - 1,
        heads=_number(values, "num_attention_heads", int, path),
        intermediate=_number(values, "intermediate_size", int, path),
        patch_px=patch,
        side=_number(values, "image_size", int, path) // patch,
        norm_eps=_number({"layer_norm_eps": 1e-6} | dict(values), "layer_norm_eps", float, path),
    )


def _read_extra(directory: Path) -> dict[str, object]:
    path = directory / OWN_FILE
    if not path.exists():
        return {}
    model = _read_json(path).get("model", {})
    if not isinstance(model, dict):
        raise ConfigError(f"{path}: model: expected an object, got {model!r}")
    classes = {
        "latent": LatentConfig, "tokens": SpecialTokens, "vae_resize": ResizeRule, "vit_resize": ResizeRule,
    }  # fmt: skip
    unknown = sorted(set(model) - set(classes) - {"autoencoder", "tokenizer"})
    if unknown:
        raise ConfigError(
            f"{path}: model: expected {', '.join(classes)}, autoencoder, tokenizer, got {unknown!r}"
        )
    try:
        return {name: classes[name](**value) if name in classes else value for name, value in model.items()}
    except TypeError as error:  # an unknown name inside, which the class itself reports
        raise ConfigError(f"{path}: model: {error}") from error


def config_sidecars(config: ModelConfig) -> dict[str, dict[str, object]]:
    """The JSON files that `read_config` reads back, by name: for a model that had none (the tiny one)."""
    language, vision = config.language, config.vision
    return {
        "llm_config.json": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "hidden_size": language.hidden,
            "num_hidden_layers": language.layers,
            "num_attention_heads": language.heads,
            "num_key_value_heads": language.kv_heads,
            "intermediate_size": language.intermediate,
            "vocab_size": language.vocab,
            "rope_theta": language.rope_theta,
            "rms_norm_eps": language.norm_eps,
            "max_position_embeddings": language.max_positions,
            "tie_word_embeddings": False,
        },
        "vit_config.json": {
            "model_type": "siglip_vision_model",
            "hidden_size": vision.hidden,
            "num_hidden_layers": vision.layers + 1,
            "num_attention_heads": vision.heads,
            "intermediate_size": vision.intermediate,
            "patch_size": vision.patch_px,
            "image_size": vision.patch_px * vision.side,
            "layer_norm_eps": vision.norm_eps,
            "rope": False,
        },
        OWN_FILE: {"model": model_extra(config)},
    }


def model_extra(config: ModelConfig) -> dict[str, object]:
    """What BAGEL's own JSON files leave to code: grids, tokens, sizes, autoencoder, tokenizer."""
    parts = {
        name: dict(vars(getattr(config, name))) for name in ("latent", "tokens", "vae_resize", "vit_resize")
    }
    return parts | {"autoencoder": config.autoencoder, "tokenizer": config.tokenizer}


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        wanted = f"expected a model directory with {', '.join(SIDECARS[:2])}"
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent}: {wanted}, got no folder; see where the model is") from error
        raise ConfigError(f"{path}: {wanted}, found no such file; copy it from the base model") from error
    except ValueError as error:
        raise ConfigError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected an object, got {value!r}")
    return value


def _number(values: Mapping[str, object], key: str, kind: type[T], path: Path) -> T:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise ConfigError(f"{path}: {key}: expected a number ({kind.__name__}), got {value!r}")
    return kind(value)
