"""What each stage will take, told before anything is loaded: samples, packs, steps, memory, operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch

from train.build import compute_dtype
from train.config import ModelConfig
from train.dataset import Dataset
from train.flops import pack_flops
from train.groups import trained_names
from train.lora import add_adapters
from train.parallel import World
from train.plan import Plan, epoch_packs
from train.pretrained import autoencoder_shapes, build_meta
from train.run import check_data
from train.settings import TINY_BASE, TrainSettings
from train.source import place_tokens
from train.stages import Stage
from train.weights import Shape

MASTER_BYTES = GRADIENT_BYTES = MEAN_BYTES = 4  # of a weight that trains: float32
MOMENTS = 2
EXPORT_BYTES = 2  # of a weight: bfloat16


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a stage will take.

    Attributes:
        samples, held: trained on, held out.
        largest: tokens of the largest sample.
        packs: of the first epoch.
        fill: share of the packs' budget that holds tokens.
        steps, epochs: of the stage.
        trained, weights: numbers that train, of all the model's.
        state_bytes: that a rank holds throughout: weights, gradients, moments, means, autoencoder.
        checkpoint_bytes: of one checkpoint, all ranks together: weights that train, moments, means.
        kept_bytes: that the dearest pack's layers keep for the backward pass; None where all is kept.
        flops: operations of all steps of all ranks, none of a pack's parts dropped out (`pack_flops`).
    """

    stage: str
    samples: int
    held: int
    largest: int
    packs: int
    fill: float
    steps: int
    epochs: float
    trained: int
    weights: int
    state_bytes: int
    checkpoint_bytes: int
    kept_bytes: int | None
    flops: float


def forecasts(settings: TrainSettings, base: Path) -> list[Forecast]:
    """Every stage's, from the data's index and the model's configuration; counts tokens, and caches them.

    Args:
        base: directory of the model that the first stage starts from.

    Raises:
        ConfigError: with everything that cannot work.
    """
    found = check_data(settings, base, World(0, 1, torch.device("cpu")))
    return [_forecast(settings, data, plan) for data, plan in found]


def _forecast(settings: TrainSettings, data: Dataset, plan: Plan) -> Forecast:
    stage, config = data.stage, data.config
    model, layers = build_meta(config), config.language.layers
    if settings.lora is not None:
        add_adapters(model, set(stage.trains), layers, settings.lora.rank, settings.lora.alpha)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    trained = trained_names(shapes, stage.trains, layers, is_lora=settings.lora is not None)
    compute = compute_dtype(settings, World(0, settings.ranks, torch.device(_device(settings)))).itemsize
    packs, trains = epoch_packs(plan, 0), () if settings.lora else stage.trains
    an_epoch = pack_flops(
        config, [place_tokens(place, config, stage.noise_draws) for place in data.training], trains
    )
    trained_weights = sum(numbers(shapes[name]) for name in trained)
    epochs = stage.steps * settings.packs_per_step / len(packs)
    return Forecast(
        stage=stage.name,
        samples=len(data.training),
        held=len(data.held),
        largest=max(size.tokens for size in plan.sizes),
        packs=len(packs),
        fill=plan.fill(),
        steps=stage.steps,
        epochs=epochs,
        trained=trained_weights,
        weights=sum(map(numbers, shapes.values())),
        state_bytes=state_bytes(settings, stage, shapes, trained, compute) + _encoder_bytes(config, compute),
        checkpoint_bytes=trained_weights * saved_bytes(settings, stage),
        kept_bytes=kept_bytes(settings, config, plan.dearest().tokens, compute),
        flops=epochs * an_epoch,
    )


def _device(settings: TrainSettings) -> str:
    """Where it will train: here may be no GPU, though the cluster has some; the tiny model asks for none."""
    is_cpu = settings.device == "cpu" or settings.base == TINY_BASE
    return "cpu" if is_cpu else "cuda"


def state_bytes(
    settings: TrainSettings, stage: Stage, shapes: Mapping[str, Shape], trained: Collection[str], compute: int
) -> int:
    """What the first rank, whose shards are the largest, holds of weights, gradients, moments and means.

    Args:
        shapes: of all parameters, by name.
        trained: names of those that train.
        compute: bytes of a number that is multiplied: what frozen weights are held in.
    """
    each = saved_bytes(settings, stage) + GRADIENT_BYTES
    return sum(
        _shard(shape, settings.ranks) * (each if name in trained else compute)
        for name, shape in shapes.items()
    )


def saved_bytes(settings: TrainSettings, stage: Stage) -> int:
    """Of a weight that trains, with its moments and its mean: what a checkpoint holds."""
    mean = MEAN_BYTES if stage.ema else 0
    return MASTER_BYTES + MOMENTS * getattr(torch, settings.moments).itemsize + mean


def disk_bytes(settings: TrainSettings, found: Sequence[Forecast]) -> int:
    """What `out` holds at the most: models so far, a stage's checkpoints, and one more of either."""
    most = models = 0
    for one in found:
        model = EXPORT_BYTES * one.weights
        most = max(most, models + settings.keep * one.checkpoint_bytes + max(one.checkpoint_bytes, model))
        models += model
    return most


def _shard(shape: Shape, ranks: int) -> int:
    """Numbers of the first rank's shard: rows are given out as `torch.chunk` does."""
    return ceil(shape[0] / ranks) * numbers(shape[1:])


def numbers(shape: Iterable[int]) -> int:
    """How many numbers a tensor of this shape holds."""
    return torch.Size(shape).numel()


def kept_bytes(settings: TrainSettings, config: ModelConfig, tokens: int, compute: int) -> int | None:
    """What the layers keep of a pack: their inputs, with `attention` what it gave too; more with `none`."""
    language = config.language
    kept = {"full": language.hidden, "attention": language.hidden + language.heads * language.head_dim}
    if settings.checkpointing not in kept:
        return None
    return kept[settings.checkpointing] * tokens * language.layers * compute


def _encoder_bytes(config: ModelConfig, compute: int) -> int:
    return sum(map(numbers, autoencoder_shapes(config).values())) * compute
