"""What only several processes show: `python rank_checks.py NAME`, started with torchrun's variables."""

import os
import socket
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.utils._python_dispatch import TorchDispatchMode

import training_runs
from train import checkpoint, shared_folder
from train.config import ConfigError
from train.ema import Ema
from train.flow import pack_loss
from train.forecast import forecasts
from train.optimizer import make_optimizer
from train.parallel import joined_world
from train.settings import TrainSettings
from train.stage_run import open_run
from train.stages import stage_preset
from train.weights import local

SIZES = ((5, 3), (4,), (1, 2), (8, 6))


class Watched(TorchDispatchMode):
    """Refuses work on sharded tensors: each such call costs DTensor's dispatcher many times the work."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(issubclass(kind, DTensor) for kind in types), f"{func} of a sharded tensor"
        return func(*args, **(kwargs or {}))


def narrow_steps(place):
    """Weights after three steps with bfloat16 moments; `place` says how each tensor is held."""
    random = torch.Generator().manual_seed(1)
    weights = {f"w{n}": place(torch.randn(size, generator=random)) for n, size in enumerate(SIZES)}
    stage = stage_preset("paper", "stage1_base").model_copy(update={"lr": 0.1, "weight_decay": 0.01})
    optimizer = make_optimizer(weights, stage, torch.bfloat16)
    for _ in range(3):
        for weight in weights.values():
            weight.grad = place(torch.randn(weight.shape, generator=random))
        with Watched():
            optimizer.step()
    return list(weights.values())


def narrow_adamw(world):
    """Shards (some of them empty) are stepped as whole tensors are, as the plain tensors that they hold."""
    mesh = world.mesh()
    whole = narrow_steps(lambda value: value)
    sharded = narrow_steps(lambda value: distribute_tensor(value, mesh, [Shard(0)]))
    assert all(isinstance(value, DTensor) for value in sharded)
    for expected, value in zip(whole, sharded, strict=True):
        assert torch.equal(value.full_tensor(), expected)
    world.wait()  # a rank that leaves while the other still speaks to it may be aborted by gloo


def means_of(place):
    """A mean and its weights after two updates, a look at the means, and their export."""
    random = torch.Generator().manual_seed(1)
    weights = {f"w{n}": place(torch.randn(size, generator=random)) for n, size in enumerate(SIZES)}
    ema = Ema(weights, 0.5)
    with Watched():
        for step in range(2):
            for weight in weights.values():
                local(weight).add_(1.0)
            ema.update(step)
        with ema.in_place():
            pass
        ema.apply()
    return [*ema.means.values(), *weights.values()]


def means(world):
    """Means of shards are those of whole tensors, computed on the plain tensors that they hold."""
    mesh = world.mesh()
    sharded = means_of(lambda value: distribute_tensor(value, mesh, [Shard(0)]))
    for expected, value in zip(means_of(lambda value: value), sharded, strict=True):
        assert torch.equal(value.full_tensor(), expected)
    world.wait()


def timeouts(world):
    """A rank that waits for one that never comes fails after the time that was last set, not the first."""
    world.wait()
    assert world.mesh().get_group() is dist.group.WORLD
    world.wait_at_most(1)
    begin_s = time.perf_counter()
    if world.is_first:
        try:
            world.total(torch.ones(2))
        except RuntimeError as error:
            assert "imed out" in str(error), error
            assert time.perf_counter() - begin_s < 60
            return
        raise AssertionError("expected a timeout")
    time.sleep(6)


def measured_means(world, data, base, out):
    """What is looked at are the means; what is gathered of them is not trained with afterwards."""
    settings = TrainSettings.model_validate(
        {
            "base": base, "out": out, "data": {"base": [data]}, "stages": ["stage1_base"], "budget": 400,
            "packs_per_step": 2, "device": "cpu", "validation": {"samples": 2},
            "overrides": {"all": {"ema": 0.9}},
        }
    )  # fmt: skip
    run = open_run(settings, "stage1_base", Path(base), world)
    inputs = run.encode(run.data.held_batch(run.data.held[0], (0.5,)))

    @torch.no_grad()
    def seen():
        return run.model(inputs).velocity_MC.clone()

    with torch.no_grad():
        run.parameters["llm2vae.bias"].add_(1.0)  # a parameter of the root, which no layer holds
    with run.measured_weights() as weights:
        means = seen()
    assert weights == "ema"
    assert torch.equal(seen(), means + 1.0)
    with run.measured_weights():
        assert torch.equal(seen(), means)


def other_view(world, folder):
    """A rank whose node does not yet know the last checkpoint goes on where the first one does."""
    root, value = Path(folder), torch.zeros(2)
    for step in (2, 4):
        checkpoint.save(root, step, {"value": value + step}, {"run": {}}, 2, world)
    if not world.is_first:
        whole = checkpoint.finished
        checkpoint.finished = lambda path: whole(path)[:1]
    assert checkpoint.restore(root, {"value": value}, {}, world) == 4
    assert torch.equal(value, torch.full((2,), 4.0))
    if not world.is_first:
        checkpoint.finished = lambda _path: []
    assert checkpoint.restore(root, {"value": value}, {}, world) == 4


def shared_folders(world, folder):
    """One folder passes; where each rank has its own all are refused; who sees nothing names its node."""
    root, shared_folder.SEEN_S = Path(folder), 1.0
    shared_folder.check_shared(root / "one", world)
    assert not world.is_first or list((root / "one").iterdir()) == []
    try:
        shared_folder.check_shared(root / str(world.rank), world)
    except ConfigError as error:
        told = (
            "1 of 2 ranks do not see" if world.is_first else f"rank 1 on {socket.gethostname()} did not see"
        )
        assert told in str(error), error
        return
    raise AssertionError("expected to be refused")


def forecast(world, data, base, out):
    """What the first rank holds after a backward pass is what was forecast, to the byte; the other less."""
    changes = {"ranks": 2, "moments": "bfloat16", "overrides": {"all": {"ema": 0.9, "data": ["base"]}}}
    settings = TrainSettings.model_validate(training_runs.values(data, base, out, **changes))
    run = open_run(settings, "stage1_base", Path(base), world)
    rehearse_without_forgetting(run)
    gradients = [value.grad for value in run.parameters.values() if value.grad is not None]
    assert len(gradients) == len(run.parameters)
    moments = [value for each in run.optimizer.state.values() for value in each.values() if value.dim()]
    held = [*run.model.parameters(), *gradients, *moments, *run.ema.means.values()]
    held_bytes = sum(local(value).nbytes for value in held)
    (expected,) = forecasts(settings, Path(base))
    assert expected.trained == sum(value.numel() for value in run.parameters.values())
    assert expected.weights == sum(value.numel() for value in run.model.parameters())
    if world.is_first:
        assert held_bytes == expected.state_bytes
    else:
        assert 0.9 * expected.state_bytes < held_bytes <= expected.state_bytes


def rehearse_without_forgetting(run):
    inputs = run.encode(run.data.rehearsal_batch(run.plan.dearest()))
    pack_loss(run.model(inputs, run.bridge), inputs, 1).backward()


CHECKS = {
    "narrow_adamw": narrow_adamw,
    "means": means,
    "timeouts": timeouts,
    "measured_means": measured_means,
    "forecast": forecast,
    "other_view": other_view,
    "shared_folders": shared_folders,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined_world("cpu") as world:
        CHECKS[sys.argv[1]](world, *sys.argv[2:])
        assert dist.is_initialized()
    # Caches of sharded tensors keep gloo's threads beyond the group's end, and once a process aborted after
    # its check had passed: it is likely that Python's end met a thread letting go of a finished collective.
    os._exit(0)
