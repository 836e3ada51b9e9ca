"""SIGKILL of the driver, a worker, a Ray node at random points: run again, nothing is lost or made twice.

A round is one directory: a run is killed, started again, killed again, as often as the round says, and then
let come to its end. Points are seeded: so many samples into the run, and up to two samples' time later.
"""

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from fake_kill import Victim
from fake_stage import FakeConfig, fake_key, read_log
from fake_tree import all_files, digests
from shards.storage import Storage

COUNT = 48
SLICE = 4
WORKERS = 2
SLEEP_S = 0.02
ROUNDS = int(os.environ.get("BAKERY_SOAK_ROUNDS", "50"))  # of the soak; four kills each


def request_of(folder, engine):
    config = FakeConfig(
        count=COUNT, reject=(fake_key(5), fake_key(30)), sleep_s=SLEEP_S, log=str(folder / "log")
    )
    return {
        "out": str(folder / "out"),
        "engine": engine,
        "workers": WORKERS,
        "shard_size": 16,
        "slice_size": SLICE,
        "config": config.model_dump(),
    }


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, environment):
    """Digests of every file of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = Victim(folder, request_of(folder, "local"))
    run.finish()
    [step] = run.steps()
    return digests(step)


def kill_again_and_again(folder, engine, seed, victims):
    """One round; return how many kills came while samples were in hand.

    A victim named "late" is the driver once the last sample is made: while shards are put together or the
    manifest is written, or after the end.
    """
    random = Random(seed)
    inside = 0
    before = None
    for victim in victims:
        made = len(read_log(folder / "log"))
        run = Victim(folder, request_of(folder, engine))
        is_late = victim == "late"
        lines = COUNT if is_late else made + random.randrange(1, COUNT // (len(victims) + 1))
        after = run.kill("driver" if is_late else victim, lines, random.uniform(0, 2 * SLEEP_S))
        assert is_late or not after.has_ended
        if before:
            check_kept(folder, before, after.log_lines)
        if victim == "worker":
            run.finish()
        inside += after.is_inside_slice
        before = after
    run = Victim(folder, request_of(folder, engine))
    run.finish()
    check_kept(folder, before, None)
    return inside


def check_kept(folder, before, log_lines):
    """What was committed before a kill is not made again, and finished shards are as they were."""
    again = {key for key, _, _ in read_log(folder / "log")[before.log_lines : log_lines]}
    assert not again & {key for _, key in before.committed}
    for name, stamp in before.shards.items():
        stat = Path(name).stat()
        assert (stat.st_ino, stat.st_mtime_ns) == stamp


def check_round(folder, undisturbed, victims):
    """The bytes of an undisturbed run; made again was at most what was in flight: a slice a dead worker."""
    [step] = [Storage(str(path)) for path in (folder / "out").glob("base-*")]
    assert digests(step) == undisturbed
    assert sorted(all_files(step)) == sorted(undisturbed)
    made = Counter(key for key, _, _ in read_log(folder / "log"))
    assert set(made) == {fake_key(number) for number in range(COUNT)}
    ended = sum(1 if victim == "worker" else WORKERS for victim in victims)
    assert sum(made.values()) - COUNT <= ended * SLICE


LOCAL = [
    ["driver"] * 3,
    ["driver"] * 3,
    ["driver", "worker"],
    ["driver", "driver", "worker"],
    ["driver", "driver", "late"],
    ["driver", "driver", "worker"],
]


def test_killed_at_17_points_on_the_local_engine(tmp_path, undisturbed):
    inside = 0
    for number, victims in enumerate(LOCAL):
        folder = tmp_path / str(number)
        folder.mkdir()
        inside += kill_again_and_again(folder, "local", number, victims)
        check_round(folder, undisturbed, victims)
    kills = sum(map(len, LOCAL))
    assert kills == 17
    assert inside > kills / 2, f"{inside} of {kills} kills fell inside a slice"


@pytest.mark.ray
@pytest.mark.parametrize("victim", ["driver", "worker", "raylet"])
def test_killed_at_a_point_on_ray(tmp_path, undisturbed, victim):
    seed = ["driver", "worker", "raylet"].index(victim)
    assert kill_again_and_again(tmp_path, "ray", seed, [victim]) == 1
    check_round(tmp_path, undisturbed, [victim])


@pytest.mark.soak
def test_killed_at_200_points(tmp_path, undisturbed):
    inside = 0
    random = Random(7)
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        engine, others = ("ray", ["worker", "raylet"]) if number % 10 == 9 else ("local", ["worker"])
        victims = ["driver"] * 3 + [random.choice(["driver", *others])]
        inside += kill_again_and_again(folder, engine, 1000 + number, victims)
        check_round(folder, undisturbed, victims)
    assert inside > 2 * ROUNDS, f"{inside} of {4 * ROUNDS} kills fell inside a slice"
