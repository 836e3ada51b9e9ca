"""Ray against one local process, and what a step costs in memory whatever its size."""

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from fake_run import run_step, start_engine
from fake_stage import FakeConfig, read_log
from shards.storage import Storage

SLICES, WORK_S = 64, 0.5
FAKES = Path(__file__).parent.parent / "fakes"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path or str(Path.cwd()) for path in sys.path))


def slices_of(folder, engine, workers, seed):
    """Make 64 slices of half a second each; times from the first finished to the last, and to the first."""
    began = time.time()
    config = FakeConfig(seed=seed, count=SLICES, work_s=WORK_S, log=str(folder / "log"))
    with closing(start_engine(engine, workers)) as executor:
        run_step(Storage(str(folder / "out")), config, executor, shard_size=SLICES, slice_size=1)
    times = sorted(at for _, _, at in read_log(config.log))
    return times[-1] - times[0], times[0] - began


def test_ray_with_two_workers_is_one_and_four_tenths_of_one_local_process(tmp_path, capsys):
    ratios, starts = [], {"local": [], "ray": []}
    for number in range(3):
        spans = {}
        for engine, workers in (("local", 1), ("ray", 2)):
            folder = tmp_path / f"{engine}{number}"
            folder.mkdir()
            spans[engine], start = slices_of(folder, engine, workers, number)
            starts[engine].append(start - WORK_S)
        ratios.append(spans["local"] / spans["ray"])
    from shards.ray_executor import stop

    stop()
    ratio = statistics.median(ratios)
    overhead_ms = (spans["local"] / (SLICES - 1) - WORK_S) * 1e3
    with capsys.disabled():
        print(f"\nRay, 2 workers, {SLICES} slices of {WORK_S} s: {ratio:.2f} times one local process")
        print(f"start-up: Ray {starts['ray'][0]:.1f} s, local {statistics.median(starts['local']):.1f} s")
        print(f"a slice costs {overhead_ms:.0f} ms beside its work")
    assert ratio >= 1.4


MEASURED = """
import json, resource, sys
import fake_run
fake_run.main(json.loads(open(sys.argv[1]).read()))
whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print("peak", *(resource.getrusage(who).ru_maxrss for who in whose))
"""


def peaks_mb(folder, count, side_px):
    """(driver, largest worker): peak resident memory of a step that makes samples and one for scores."""
    folder.mkdir()
    config = FakeConfig(count=count, side_px=side_px)
    request = {
        "out": str(folder / "out"),
        "engine": "local",
        "workers": 2,
        "shard_size": 500,
        "slice_size": 16,
        "config": config.model_dump(),
        "judged": True,
    }
    order = folder / "order.json"
    order.write_text(json.dumps(request))
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(order)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = [line for line in ended.stdout.splitlines() if line.startswith("peak")]
    return [int(kb) / 1024 for kb in line.split()[1:]]


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path, capsys):
    few = peaks_mb(tmp_path / "few", 1_000, 96)
    many = peaks_mb(tmp_path / "many", 20_000, 96)
    with capsys.disabled():
        for name, one, other in zip(("driver", "worker"), few, many, strict=True):
            print(f"\npeak of the {name}: {one:.0f} MB at 1,000 samples, {other:.0f} MB at 20,000")
    assert many[0] < few[0] * 1.25
    assert many[1] < few[1] * 1.25
