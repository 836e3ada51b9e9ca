"""Starting the processes that train together: this one alone, torchrun's, or Ray's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from train.run import run_stages
from train.settings import TrainSettings

RESTARTS = 3  # of a failed group of workers, each from its last checkpoint


def launch(settings: TrainSettings) -> int:
    """Train as the settings say; 0 when all stages are done."""
    if settings.ranks == 1 or "RANK" in os.environ:
        return run_stages(settings)
    return launch_ray(settings)


def launch_ray(settings: TrainSettings) -> int:
    """Train with `ranks` workers of the Ray cluster, restarted together when one fails.

    Checkpoints and logs go to `settings.out`, which every node must see.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    is_gpu = settings.device != "cpu"
    trainer = TorchTrainer(
        _worker,
        train_loop_config=settings.model_dump(mode="json"),
        scaling_config=ScalingConfig(num_workers=settings.ranks, use_gpu=is_gpu),
        torch_config=TorchConfig(backend="nccl" if is_gpu else "gloo"),
        run_config=RunConfig(
            name="train",
            storage_path=str(Path(settings.out).absolute() / ".ray"),
            failure_config=FailureConfig(max_failures=RESTARTS),
        ),
    )
    trainer.fit()
    return 0


def _worker(values: dict[str, Any]) -> None:
    run_stages(TrainSettings.model_validate(values))
