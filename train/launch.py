"""Starting the processes that train together: this one alone, torchrun's, or Ray's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from train.checkpoint import FOLDER, finished
from train.config_files import OWN_FILE
from train.parallel import World
from train.run import prepare, run_stages
from train.settings import TINY_BASE, TrainSettings
from train.shared_folder import is_seen

RESTARTS = 3  # of all workers, one after the other, that come no further than the last checkpoint


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
        ray.train.TrainingFailedError: workers failed more often than `RESTARTS` and came no further.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
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
        run_config=RunConfig(name="train", storage_path=str(out / ".ray")),
    )
    while_it_comes_further(trainer.fit, lambda: how_far(out, settings.stages), TrainingFailedError)
    return 0 if is_seen(out / settings.stages[-1] / "model" / OWN_FILE) else 3


def while_it_comes_further(
    attempt: Callable[[], object], how_far: Callable[[], object], failure: type[Exception]
) -> None:
    """Try until it ends, and again after a failure; only those count that come no further.

    Ray counts all failures of a run. Over weeks nodes are lost more often than any number that would end
    a run which cannot work.

    Raises:
        failure: the last one, after `RESTARTS` that came no further.
    """
    left = RESTARTS
    while True:
        before = how_far()
        try:
            attempt()
        except failure:
            left = RESTARTS if how_far() != before else left - 1
            if left < 0:
                raise
        else:
            return


def how_far(out: Path, stages: Sequence[str]) -> list[str]:
    """What a run has finished: models, and each stage's last checkpoint."""
    made = [f"{stage}/model" for stage in stages if (out / stage / "model" / OWN_FILE).exists()]
    kept = [finished(out / stage / FOLDER)[-1:] for stage in stages]
    return made + [str(path) for last in kept for path in last]


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
