"""Starting the processes that train together: this one alone, torchrun's, or Ray's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from train.config_files import OWN_FILE
from train.parallel import World
from train.run import prepare, run_stages
from train.settings import TINY_BASE, TrainSettings

RESTARTS = 3  # of a failed group of workers, each from its last checkpoint


def launch(settings: TrainSettings) -> int:
    """Train as the settings say; 0 when all stages are done, 3 when stopped."""
    if settings.ranks == 1 or "RANK" in os.environ:
        return run_stages(settings)
    return launch_ray(settings)


def launch_ray(settings: TrainSettings) -> int:
    """Train with `ranks` workers of a Ray cluster, all restarted from the last checkpoint when one fails.

    The cluster is that of `RAY_ADDRESS`, or one on this machine. Checkpoints and logs go to `settings.out`,
    which every node must see.

    Raises:
        ConfigError: what cannot work, told before any worker starts.
        ray.train.TrainingFailedError: workers failed more often than `RESTARTS`.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = absolute(settings)
    prepare(settings, World(0, 1, torch.device("cpu")))
    if not ray.is_initialized():
        places = max(
            settings.ranks, os.cpu_count() or 1
        )  # a rank takes one of Ray's CPUs, however many are real
        ray.init(num_cpus=None if "RAY_ADDRESS" in os.environ else places, include_dashboard=False)
    device = _device(settings.device, ray.cluster_resources())
    out = Path(settings.out)
    trainer = TorchTrainer(
        _worker,
        train_loop_config=settings.model_dump(mode="json") | {"device": device},
        scaling_config=ScalingConfig(num_workers=settings.ranks, use_gpu=device == "cuda"),
        torch_config=TorchConfig(
            backend="nccl" if device == "cuda" else "gloo", timeout_s=settings.load_timeout_s
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(out / ".ray"),
            failure_config=FailureConfig(max_failures=RESTARTS),
        ),
    )
    trainer.fit()
    return 0 if (out / settings.stages[-1] / "model" / OWN_FILE).exists() else 3


def absolute(settings: TrainSettings) -> TrainSettings:
    """The same run with paths that hold in any working directory: Ray gives its workers one of their own."""
    base = settings.base if settings.base == TINY_BASE else str(Path(settings.base).absolute())
    data = {
        role: tuple(uri if "://" in uri else str(Path(uri).absolute()) for uri in uris)
        for role, uris in settings.data.items()
    }
    return settings.model_copy(update={"base": base, "out": str(Path(settings.out).absolute()), "data": data})


def _device(asked: str, resources: Mapping[str, float]) -> str:
    """GPUs where the cluster has any; one that adds them only when asked wants `device: cuda`."""
    return asked if asked != "auto" else "cuda" if resources.get("GPU", 0) else "cpu"


def _worker(values: dict[str, Any]) -> None:
    run_stages(TrainSettings.model_validate(values))
