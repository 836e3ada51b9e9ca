"""What `bakery train`, `bakery generate` and `bakery relevance` call. Importing it imports no torch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from train.bridge_config import BridgeConfig, bridge_preset
from train.config import TINY, ConfigError, ModelConfig
from train.config_files import OWN_FILE, read_config
from train.guidance import SamplerConfig
from train.page import PAGE
from train.settings import TINY_BASE, TrainSettings, load_settings

if TYPE_CHECKING:
    from train.draw import Studio
    from train.forecast import Forecast


def main_train(path: Path, changes: Mapping[str, Any] | None = None) -> int:
    """Train every stage of a recipe, one after the other; finished ones are skipped.

    Several ranks are started by Ray, unless torchrun started this process.

    Args:
        path: YAML of `train.settings.TrainSettings`.
        changes: settings that the command line changed.

    Returns:
        0 when all stages are done, 3 when stopped by a signal (run again to go on).

    Raises:
        ConfigError: with everything that is wrong with the recipe, before anything is loaded.
    """
    settings = check_recipe(path, changes)
    from train.launch import launch

    code = launch(settings)
    if code == 0 and os.environ.get("RANK", "0") == "0":
        sys.stdout.write(
            f"{Path(settings.out) / settings.stages[-1] / 'model'}\n{Path(settings.out) / PAGE}\n"
        )
    return code


def main_check(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[TrainSettings, list[Forecast]]:
    """What each stage of a recipe will take, from the data's index and the headers of the weights.

    Raises:
        ConfigError: with everything that is wrong with the recipe, its data, or the model it starts from.
    """
    settings = check_recipe(path, changes)
    from train.forecast import forecasts
    from train.pretrained import write_tiny

    with TemporaryDirectory() as folder:
        # Counts of tokens are kept for the run, but a check makes no folder of its own.
        looked = settings if Path(settings.out).exists() else settings.model_copy(update={"out": folder})
        base = Path(folder) / TINY_BASE if settings.base == TINY_BASE else Path(settings.base)
        if settings.base == TINY_BASE:
            write_tiny(base, settings.seed)
        return settings, forecasts(looked, base)


def check_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> TrainSettings:
    """A training recipe, checked as far as is possible without its data.

    Raises:
        ConfigError: with every problem, one a line.
    """
    settings = load_settings(path, changes)
    model = TINY if settings.base == TINY_BASE else read_config(Path(settings.base))
    problems = settings.problems(model, settings.data)
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return settings


def main_generate(
    checkpoint: Path,
    references: Sequence[Path],
    instruction: str,
    into: Path,
    *,
    size: tuple[int, int] = (1024, 1024),
    seed: int = 0,
    steps: int = 50,
    uses_bridge: bool = False,
    vit_px: int | None = None,
    device: str = "auto",
    cpu_threads: int = 1,
) -> Path:
    """Draw one image; the seed alone decides the noise.

    Args:
        checkpoint: a model directory.
        references: image files, in the order the instruction counts them.
        instruction: what to draw.
        into: PNG file to write.
        size: wished (width, height) in pixels; the model's resize rule has the last word.
        seed: of the noise.
        steps: points in time; one less step is made.
        uses_bridge: apply the checkpoint's bridge while sampling, which the released code never does.
        vit_px: longest side of references for the ViT; None: as in training (518). The released inference
            has 980.
        device: cpu, cuda or auto.
        cpu_threads: that multiply where the device is a CPU; other numbers give other last bits.

    Raises:
        ConfigError: the directory is no model, or a setting cannot be sampled.
    """
    from train.draw import draw
    from train.pixels import open_picture
    from train.threads import limited_threads

    sampler = SamplerConfig(steps=steps, uses_bridge=uses_bridge)
    if sampler.problems():
        raise ConfigError("\n".join(sampler.problems()))
    studio, bridge = open_studio(checkpoint, device, vit_px), checkpoint_bridge(checkpoint)
    images = [open_picture(path) for path in references]
    with limited_threads(cpu_threads):
        image = draw(studio, images, instruction, size, "generate", sampler, bridge, seed)
    into.parent.mkdir(parents=True, exist_ok=True)
    image.save(into)
    return into


def main_relevance(checkpoint: Path, directory: str, key: str, into: Path, *, device: str = "auto") -> Path:
    """Draw a model's relevance over a sample's reference images, per layer and expert.

    Args:
        checkpoint: a model directory.
        directory: finished directory or selection that the sample is in.
        key: of the sample.
        into: PNG file to write.
        device: cpu, cuda or auto.

    Raises:
        ConfigError: the directory is no model, or has no such sample.
    """
    from train.batch import Noising, make_batch, to_device
    from train.build import flex_block
    from train.pixels import decode
    from train.relevance_map import draw_maps, relevance_maps
    from train.source import Source

    directory_of_sample = Source(directory).directory
    if key not in directory_of_sample.places:
        raise ConfigError(
            f"{directory}: expected a key of its samples, got {key!r}; there are "
            f"{', '.join(islice(directory_of_sample.places, 3))} and others: see its index"
        )
    sample, studio = directory_of_sample[key], open_studio(checkpoint, device)
    block, noising = flex_block(studio.device), Noising(key=("relevance", key))
    batch = make_batch([sample], studio.config, studio.tokenizer, noising, block or 1)
    inputs = to_device(batch, studio.autoencoder, studio.config, studio.device, block)
    maps = relevance_maps(studio.model, batch, inputs)
    images = [decode(image, f"sample {key}") for image in sample.references]
    into.parent.mkdir(parents=True, exist_ok=True)
    draw_maps(maps, images).save(into)
    return into


def checkpoint_bridge(checkpoint: Path) -> BridgeConfig:
    """The bridge that a checkpoint was last trained with; the recommended one where it says nothing."""
    path = checkpoint / OWN_FILE
    stored = json.loads(path.read_text("utf-8")).get("bridge") if path.exists() else None
    return replace(bridge_preset("recommended"), **stored) if stored else bridge_preset("recommended")


def with_vit_px(config: ModelConfig, vit_px: int | None) -> ModelConfig:
    """A configuration whose references are sized for the ViT to another longest side; None: as in training.

    Raises:
        ConfigError: the model has not the positions.
    """
    if vit_px is None:
        return config
    return replace(config, vit_resize=replace(config.vit_resize, max_px=vit_px)).check()


def open_studio(checkpoint: Path, device: str, vit_px: int | None = None) -> Studio:
    """All that drawing with a checkpoint needs, loaded.

    Raises:
        ConfigError: the directory is no model, the device is not there, or `vit_px` is too large.
    """
    import torch

    from train.draw import Studio
    from train.parallel import kind_of
    from train.pretrained import load_autoencoder, load_model
    from train.tokenizer import load_tokenizer

    kind = kind_of(device)
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    config = with_vit_px(read_config(checkpoint), vit_px)
    return Studio(
        model=load_model(checkpoint, kind, dtype),
        autoencoder=load_autoencoder(checkpoint, config, kind, dtype),
        tokenizer=load_tokenizer(checkpoint, config),
        config=config,
        device=torch.device(kind),
    )


if __name__ == "__main__":
    try:
        raise SystemExit(main_train(Path(sys.argv[1])))
    except ConfigError as problem:
        sys.stderr.write(f"{problem}\n")
        raise SystemExit(2) from problem
