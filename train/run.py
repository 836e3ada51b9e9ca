"""Stages one after the other: each starts from the model that the one before it left."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from train.checkpoint import FOLDER, drop
from train.config import ConfigError
from train.config_files import read_config
from train.dataset import Dataset, open_dataset
from train.loop import train_stage
from train.page import write_page
from train.parallel import World, joined_world
from train.plan import Plan
from train.pretrained import weight_problems, write_tiny
from train.settings import TINY_BASE, TrainSettings
from train.shared_folder import check_shared, wait_until_seen
from train.stopping import Stopping
from train.threads import limited_threads
from train.tokenizer import load_tokenizer


def run_stages(settings: TrainSettings) -> int:
    """Train all stages as one of the processes that train together; 0 when all are done, 3 if stopped."""
    with (
        joined_world(settings.device, settings.load_timeout_s) as world,
        limited_threads(settings.cpu_threads),
    ):
        check_shared(Path(settings.out), world)
        base, stopping = prepare(settings, world), Stopping()
        for name in settings.stages:
            made = train_stage(settings, name, base, world, stopping)
            if world.is_first:
                write_page(Path(settings.out), settings.stages)
            if made is None:
                return 3
            drop(made.with_name(FOLDER), world)
            if stopping.is_agreed and name != settings.stages[-1]:
                return 3
            base = made
            release()
    return 0


def prepare(settings: TrainSettings, world: World) -> Path:
    """The model that the first stage starts from, once all is checked that can be without loading it.

    Raises:
        ConfigError: with everything that cannot work.
    """
    if settings.packs_per_step % world.size:
        raise ConfigError(
            f"packs_per_step: expected a multiple of the {world.size} processes that were started, got "
            f"{settings.packs_per_step!r}; start another number of them, or change it"
        )
    base = _base(settings, world)
    check_data(settings, base, world)
    return base


def release() -> None:
    """Let go of a stage: under FSDP its model is a cycle, and its memory would be missed by the next one's.

    Compiled layers go too: each stage freezes others, and torch compiles one function only so many times.
    """
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def check_data(settings: TrainSettings, base: Path, world: World) -> list[tuple[Dataset, Plan]]:
    """Names and shapes of the weights, all stages' samples against their budget, before anything is loaded.

    Returns:
        Each stage's samples and plan.

    Raises:
        ConfigError: with everything that cannot work.
    """
    config, found = read_config(base), []
    problems = [*weight_problems(base, config)]
    for stage in map(settings.stage, settings.stages):
        data = open_dataset(settings, stage, config, load_tokenizer(base, config), world, 1)
        found.append((data, data.plan(settings)))
        problems += [f"stage {stage.name}: {problem}" for problem in found[-1][1].problems()]
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def _base(settings: TrainSettings, world: World) -> Path:
    if settings.base != TINY_BASE:
        return Path(settings.base)
    path = Path(settings.out) / TINY_BASE
    if world.is_first and not (path / "model.safetensors").exists():
        write_tiny(path, settings.seed)
    world.wait()
    return wait_until_seen(path / "model.safetensors").parent
