"""Ray starts the ranks and starts them again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def workers_below(process):
    """Ray's training workers among the processes that `process` started, by id."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            names[int(path.name)] = (path / "cmdline").read_bytes().split(b"\0")[0].decode()
            parents[int(path.name)] = int(stat[1])
        except OSError:
            continue
    return [
        pid for pid, name in names.items() if "RayTrainWorker" in name and process in line_of(pid, parents)
    ]


def line_of(pid, parents):
    found = []
    while pid in parents:
        pid = parents[pid]
        found.append(pid)
    return found


def steps(log):
    return [json.loads(line)["step"] for line in log.read_text().splitlines() if '"train"' in line]


@pytest.mark.ray
def test_ray_restarts_all_ranks_from_the_last_checkpoint_when_one_dies(data, tiny, tmp_path):
    change = {"steps": 30, "warmup_steps": 0, "data": ["base"]}
    recipe = {
        "base": str(tiny), "out": str(tmp_path / "out"), "data": {"base": [str(data)]},
        "stages": ["stage1_base"],
        "flavour": "paper", "overrides": {"all": change}, "budget": 400, "packs_per_step": 2, "ranks": 2,
        "checkpointing": "none", "device": "cpu", "loaders": 1, "save_every": 3, "validation": {"samples": 0},
    }  # fmt: skip
    path, log = tmp_path / "recipe.yaml", tmp_path / "out/stage1_base/log.jsonl"
    path.write_text(yaml.safe_dump(recipe))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "train.main", str(path)],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not log.exists() or len(steps(log)) < 5:
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.05)
    victims = workers_below(process.pid)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    output = process.communicate(timeout=200)[0].decode()
    assert process.returncode == 0, output
    found = steps(log)
    again = next(n for n in range(1, len(found)) if found[n] <= found[n - 1])
    assert found[again] % 3 == 1, "goes on after a checkpoint"
    assert found[again:] == list(range(found[again], 31))
