"""A checkpoint of a few narrow layers that draws something."""

from dataclasses import replace

from safetensors.torch import load_file, save_file

from train.config import TINY
from train.keyed import keyed_normal
from train.pretrained import write_tiny


def write_checkpoint(path):
    """A tiny model that is not silent: as written, its velocity is zero, and no reference would count."""
    narrow = replace(TINY.language, layers=4, hidden=32, intermediate=64)
    write_tiny(path, seed=1, config=replace(TINY, language=narrow))
    weights = load_file(path / "model.safetensors")
    weights["llm2vae.weight"] = 0.5 * keyed_normal(tuple(weights["llm2vae.weight"].shape), "llm2vae")
    save_file(weights, path / "model.safetensors")
