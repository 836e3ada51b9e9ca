"""Model directories as models: building without memory, materializing, loading, exporting, the tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.config import TINY, ModelConfig
from train.config_files import config_sidecars, model_extra, read_config
from train.dct import DctAutoencoder
from train.keyed import keyed_generator
from train.model import Bagel
from train.positions import SineTable
from train.vae import Autoencoder, FluxVae
from train.weights import (
    AUTOENCODER_FILE,
    Gather,
    Shape,
    WeightsError,
    check_shapes,
    copy_sidecars,
    export_name,
    file_shapes,
    is_first,
    load_file_into,
    save_streaming,
    state_shapes,
    weight_file,
)


def build_meta(config: ModelConfig) -> Bagel:
    """The model without memory for its tensors: to be sharded, then materialized."""
    with torch.device("meta"):
        return Bagel(config)


def autoencoder_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Every tensor of the autoencoder that the configuration names; none where it has no weights."""
    if config.autoencoder == "dct":
        return {}
    with torch.device("meta"):
        return state_shapes(FluxVae())


def weight_problems(directory: Path, config: ModelConfig) -> Iterator[str]:
    """What the files' headers tell that is wrong with a model's weights; no weight is read."""
    model, encoder = state_shapes(build_meta(config)), autoencoder_shapes(config)
    for find, expected in ((weight_file, model), (lambda folder: folder / AUTOENCODER_FILE, encoder)):
        try:
            if expected:
                file = find(directory)
                check_shapes(str(file), expected, file_shapes(file))
        except WeightsError as error:
            yield str(error)


def materialize(model: nn.Module, device: torch.device | str) -> None:
    """Give a meta model memory on `device` (only this rank's shards) and compute its fixed tables."""
    model.to_empty(device=device)
    for module in model.modules():
        if isinstance(module, SineTable):
            module.reset()


def load_model(
    directory: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Bagel:
    """The whole model of a directory on one device, for sampling."""
    model = build_meta(read_config(directory))
    model.to(dtype or torch.float32)
    materialize(model, device)
    load_file_into(model, weight_file(directory))
    return model.requires_grad_(False)


def load_autoencoder(
    directory: Path,
    config: ModelConfig,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Autoencoder:
    """The frozen autoencoder that the configuration names."""
    if config.autoencoder == "dct":
        return DctAutoencoder().to(device)
    with torch.device("meta"):
        vae = FluxVae()
    vae.to(dtype)
    vae.to_empty(device=device)
    load_file_into(vae, directory / AUTOENCODER_FILE)
    return vae.requires_grad_(False).to(memory_format=torch.channels_last)


def export_model(
    tensors: Mapping[str, Tensor],
    source: Path,
    into: Path,
    config: ModelConfig,
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.bfloat16,
    gather: Gather | None = None,
) -> None:
    """Write a model directory that loads where `source` loads. All ranks call it; rank 0 writes.

    Args:
        tensors: by released name.
        source: the base model: its JSON, tokenizer and autoencoder are copied.
        about: what `bakery.json` says beside the model: bridge, stage, steps, versions.
        dtype: of the weights in the file.
        gather: see `train.weights.save_streaming`.
    """
    partial = into.with_name(f".{into.name}.partial")
    if is_first():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        copy_sidecars(source, partial, {"model": model_extra(config), **about})
    save_streaming(partial / export_name(source), tensors, dtype, gather)
    if is_first():
        partial.rename(into)  # a directory of this name is whole


def write_tiny(directory: Path, seed: int = 0, config: ModelConfig = TINY) -> None:
    """Write a small untrained model directory of the same classes and names."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, values in config_sidecars(config).items():
        (directory / name).write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    model = Bagel(config.check())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _initialize(name, parameter, config, keyed_generator(seed, "init", name))
    save_streaming(directory / "model.safetensors", model.state_dict(), torch.float32)


def _initialize(name: str, parameter: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    if "norm" in name:
        parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    elif name.endswith("bias") or name.startswith("llm2vae"):
        parameter.zero_()  # the first prediction is zero, whose error is the velocity's own variance
    else:
        fan_in = parameter.shape[-1]
        depth = (2 * config.language.layers) ** -0.5 if "o_proj" in name or "down_proj" in name else 1.0
        scale = 0.5 if "embed_tokens" in name else depth * fan_in**-0.5
        parameter.normal_(0.0, scale, generator=generator)
