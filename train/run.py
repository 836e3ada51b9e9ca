"""Stages one after the other: each starts from the model that the one before it left."""

from __future__ import annotations

from pathlib import Path

from train.loop import train_stage
from train.parallel import World, joined_world
from train.pretrained import write_tiny
from train.settings import TINY_BASE, TrainSettings
from train.stopping import Stopping


def run_stages(settings: TrainSettings) -> int:
    """Train all stages as one of the processes that train together; 0 when all are done, 3 if stopped."""
    with joined_world(settings.device) as world:
        base = _base(settings, world)
        for name in settings.stages:
            made = train_stage(settings, name, base, world, Stopping())
            if made is None:
                return 3
            base = made
    return 0


def _base(settings: TrainSettings, world: World) -> Path:
    if settings.base != TINY_BASE:
        return Path(settings.base)
    path = Path(settings.out) / TINY_BASE
    if world.is_first and not (path / "model.safetensors").exists():
        write_tiny(path, settings.seed)
    world.wait()
    return path
