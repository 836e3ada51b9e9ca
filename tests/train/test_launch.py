"""Ray starts the ranks and starts them again."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from programs import Program
from train.config import ConfigError
from train.launch import RESTARTS, absolute, how_far, launch_ray, while_it_comes_further
from train.settings import TrainSettings


def workers_below(root):
    """Ray's training workers among the processes that process `root` started, by id."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            names[int(path.name)] = (path / "cmdline").read_bytes().split(b"\0")[0].decode()
            parents[int(path.name)] = int(stat[1])
        except OSError:
            continue
    return [pid for pid, name in names.items() if "RayTrainWorker" in name and root in line_of(pid, parents)]


def line_of(pid, parents):
    found = []
    while pid in parents:
        pid = parents[pid]
        found.append(pid)
    return found


def steps(log):
    return [json.loads(line)["step"] for line in log.read_text().splitlines() if '"train"' in line]


def settings(**changes):
    given = {"base": "models/base", "out": "out", "data": {"base": ("sets/a", "s3://bucket/b?region=x")}}
    return TrainSettings.model_validate(given | {"stages": ["stage1_base"]} | changes)


def test_workers_of_another_working_directory_are_given_whole_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = absolute(settings())
    assert (found.base, found.out) == (str(tmp_path / "models/base"), str(tmp_path / "out"))
    assert found.data == {"base": (str(tmp_path / "sets/a"), "s3://bucket/b?region=x")}
    assert absolute(settings(base="tiny")).base == "tiny"


def test_a_mistake_is_told_before_ray_starts_a_worker(data, tiny, tmp_path):
    run = settings(base=str(tiny), out=str(tmp_path), data={"base": (str(data),)}, budget=150, ranks=2)
    with pytest.raises(ConfigError, match=r"stage stage1_base: .*budget: expected the largest"):
        launch_ray(run)


class LostError(Exception):
    """A worker is gone."""


def test_only_failures_that_come_no_further_count():
    def attempts(*reached, end):
        """Attempts that reach these steps, one after the other, and fail before the end."""
        steps, here = iter(reached), [0]

        def attempt():
            here[0] = next(steps)
            if here[0] < end:
                raise LostError

        while_it_comes_further(attempt, lambda: here[0], LostError)
        return here[0]

    none = [0] * RESTARTS
    assert attempts(*none, 3, *[3] * RESTARTS, 6, *[6] * RESTARTS, 9, end=9) == 9
    with pytest.raises(LostError):
        attempts(3, *[3] * (RESTARTS + 1), 9, end=9)


def test_how_far_a_run_has_come_is_its_models_and_last_checkpoints(tmp_path):
    stages = ("stage1_base", "stage2_joint")
    assert how_far(tmp_path, stages) == []
    for name in ("step-0000003", "step-0000006", ".step-0000009.partial"):
        folder = tmp_path / "stage1_base/checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "about.json").write_text("{}")
    begun = how_far(tmp_path, stages)
    assert begun == [str(tmp_path / "stage1_base/checkpoints/step-0000006")]
    (tmp_path / "stage1_base/model").mkdir()
    (tmp_path / "stage1_base/model/bakery.json").write_text("{}")
    assert how_far(tmp_path, stages) == ["stage1_base/model", *begun]


@pytest.mark.ray
@pytest.mark.timeout(900)  # Ray starts all ranks twice: 50 s of processor time
def test_ray_restarts_all_ranks_from_the_last_checkpoint_when_one_dies(data, tiny, tmp_path):
    change = {"steps": 30, "warmup_steps": 0, "data": ["base"]}
    recipe = {
        "base": os.path.relpath(tiny, tmp_path), "out": "out",
        "data": {"base": [os.path.relpath(data, tmp_path)]},
        "stages": ["stage1_base"],
        "flavour": "paper", "overrides": {"all": change}, "budget": 400, "packs_per_step": 2, "ranks": 2,
        "checkpointing": "none", "device": "auto", "loaders": 1, "save_every": 3,
        "validation": {"samples": 0},
    }  # fmt: skip
    path, log = tmp_path / "recipe.yaml", tmp_path / "out/stage1_base/log.jsonl"
    path.write_text(yaml.safe_dump(recipe))
    alone = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with Program("-m", "train.main", "recipe.yaml", cwd=tmp_path, env=alone) as training:
        while not log.exists() or len(steps(log)) < 5:
            assert training.is_running(), training.said()
            time.sleep(0.05)
        victims = workers_below(training.pid)
        assert victims
        os.kill(victims[0], signal.SIGKILL)
        assert training.status() == 0, training.said()
    found = steps(log)
    again = next(n for n in range(1, len(found)) if found[n] <= found[n - 1])
    assert found[again] % 3 == 1, "goes on after a checkpoint"
    assert found[again:] == list(range(found[again], 31))
