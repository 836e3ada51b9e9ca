"""Starting the processes that train together: this one alone, torchrun's, or Ray's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from train.run import run_stages
from train.settings import TrainSettings

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
        ray.train.TrainingFailedError: workers failed more often than `RESTARTS`.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    out, is_gpu = Path(settings.out).absolute(), settings.device != "cpu"
    if not ray.is_initialized() and "RAY_ADDRESS" not in os.environ:
        ray.init(num_cpus=None if is_gpu else settings.ranks, include_dashboard=False)
    trainer = TorchTrainer(
        _worker,
        train_loop_config=settings.model_dump(mode="json") | {"out": str(out)},
        scaling_config=ScalingConfig(num_workers=settings.ranks, use_gpu=is_gpu),
        torch_config=TorchConfig(backend="nccl" if is_gpu else "gloo"),
        run_config=RunConfig(
            name="train",
            storage_path=str(out / ".ray"),
            failure_config=FailureConfig(max_failures=RESTARTS),
        ),
    )
    trainer.fit()
    return 0 if (out / settings.stages[-1] / "model" / "bakery.json").exists() else 3


def _worker(values: dict[str, Any]) -> None:
    run_stages(TrainSettings.model_validate(values))
