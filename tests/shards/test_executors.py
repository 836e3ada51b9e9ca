"""Engines: tasks in other processes, of which nothing is left, whatever ends them."""

import os
import pickle
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from fake_task import Say
from shards.executor import EngineError
from shards.http_client import RequestError, TransientError
from shards.image import ImageError
from shards.local_executor import LocalExecutor
from shards.tar import TarError


def run(engine, *tasks):
    found = []
    waiting = list(tasks)
    while len(found) < len(tasks):
        while waiting and engine.has_room():
            engine.submit(waiting.pop(0))
        found += engine.wait(0.2)
    return found


def test_a_worker_lives_from_task_to_task_with_one_thread(engine):
    found = run(engine, *[Say() for _ in range(6)])
    pids = {each.result[0] for each in found}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert max(each.result[1] for each in found) >= 3
    assert all(each.result[2] == {"OMP_NUM_THREADS": "1"} for each in found)


def test_an_exception_comes_out_as_it_is_and_the_worker_lives_on(engine):
    with pytest.raises(ZeroDivisionError) as caught:
        run(engine, Say("raise"))
    assert (type(caught.value), str(caught.value)) == (ZeroDivisionError, "on purpose")
    assert len(run(engine, Say(), Say())) == 2


def test_an_exception_that_cannot_travel_is_told_and_is_no_death(engine):
    with pytest.raises(RuntimeError, match="StubbornError: its words"):
        run(engine, Say("raise what cannot travel"))
    assert len(run(engine, Say(), Say())) == 2


@pytest.mark.parametrize("kind", [TarError, ImageError, RequestError, TransientError])
def test_errors_with_a_reason_come_out_of_a_worker_whole(kind):
    error = kind("short", "where: expected one thing, got another")
    error.add_note("step base")
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), found.reason) == (kind, str(error), "short")
    assert found.__notes__ == ["step base"]
    assert str(error) == "where: expected one thing, got another"


def test_a_death_is_told_and_the_worker_replaced(engine):
    found = run(engine, Say("die"), Say(), Say(), Say())
    assert [each.is_dead for each in found if each.task.what == "die"] == [True]
    assert sum(not each.is_dead for each in found) == 3


def test_a_worker_can_have_two_tasks_in_hand(engine):
    found = []
    for _ in range(4):
        while not engine.has_room(2):
            found += engine.wait(0.2)
        engine.submit(Say("meet"))
    while engine.in_hand:
        found += engine.wait(0.2)
    pids = [each.result[0] for each in found]
    assert sorted(pids.count(pid) for pid in set(pids)) in ([2, 2], [4])


def test_a_death_is_told_of_all_that_was_in_hand(engine):
    while engine.has_room():
        engine.submit(Say("sleep"))
    engine.submit(Say("die"))
    ended = []
    while len(ended) < 2:
        ended += engine.wait(0.2)
    assert sorted(each.task.what for each in ended if each.is_dead) == ["die", "sleep"]
    while not engine.has_room():  # another worker takes its place
        ended += engine.wait(0.2)
    assert len(ended) == 2


def test_workers_end_when_their_driver_is_killed():
    script = (
        "import os, signal\nfrom shards.local_executor import LocalExecutor\nfrom fake_task import Say\n"
        "if __name__ == '__main__':\n"
        "    engine = LocalExecutor(1); engine.submit(Say()); found = []\n"
        "    while not found: found = engine.wait(1)\n"
        "    print(found[0].result[0], flush=True); engine.submit(Say('sleep'))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    worker = Path(f"/proc/{int(ended.stdout)}")
    end = time.monotonic() + 5
    while worker.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not worker.exists()


def test_closing_ends_workers_in_the_middle_of_a_task():
    engine = LocalExecutor(1)
    [first] = run(engine, Say())
    engine.submit(Say("sleep"))
    engine.close()
    assert not Path(f"/proc/{first.result[0]}").exists()


def starting_with(deaths, log):
    """An actor that dies as it starts, so many times in all."""
    from shards.ray_executor import WorkerActor

    class Starting(WorkerActor):
        def __init__(self, *asking):
            with log.open("a") as file:
                file.write("started\n")
            if len(log.read_text().splitlines()) <= deaths:
                raise OSError("no room for its scratch files")
            super().__init__(*asking)

    return Starting


@pytest.mark.ray
def test_a_worker_that_dies_as_it_starts_is_replaced(ray_engine, monkeypatch, tmp_path):
    from shards import ray_executor

    monkeypatch.setattr(ray_executor, "WorkerActor", starting_with(2, tmp_path / "log"))
    with closing(ray_executor.RayExecutor(1, cpus=0)) as engine:
        assert len(run(engine, Say(), Say())) == 2
    assert (tmp_path / "log").read_text().count("started") == 3


@pytest.mark.ray
def test_workers_that_never_start_are_an_error_that_shows_their_own(ray_engine, monkeypatch, tmp_path):
    from shards import ray_executor

    monkeypatch.setattr(ray_executor, "WorkerActor", starting_with(99, tmp_path / "log"))
    with (
        closing(ray_executor.RayExecutor(1, cpus=0)) as engine,
        pytest.raises(
            EngineError, match=r"3 that died as they started.*doctor[\s\S]*no room for its scratch"
        ),
    ):
        run(engine, Say())
    assert (tmp_path / "log").read_text().count("started") == ray_executor.START_FAILURES


@pytest.mark.ray
def test_more_than_any_node_has_is_an_error_that_says_what_there_is(ray_engine):
    from shards.ray_executor import RayExecutor

    with pytest.raises(EngineError, match=r"needs 1000 CPUs and 0 GPUs on one node, .* have: 2 CPUs"):
        RayExecutor(1, cpus=1000)
    with pytest.raises(EngineError, match="needs 1 CPUs and 4 GPUs"):
        RayExecutor(1, gpus=4)


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    from shards.ray_executor import check_address

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_address(address)
    with pytest.raises(EngineError, match=f"expected a cluster at {address}, got: .*refused"):
        check_address(address)
    check_address("auto")
