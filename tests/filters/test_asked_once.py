"""Samples of the same content in the hands of two worker processes: one asks, the other finds the reply."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import closing

import pytest

from fake_run import start_engine
from filters.fake_server import MODEL
from filters.judge_step import JudgeConfig
from inline_run import run_inline
from shards.stage import Planned, Stage
from shards.worker_step import WorkerStep
from tiny_samples import make_sample

# Four slices of four samples: the last two hold what the first two do, the other way round, so that each
# worker's second slice is the other one's first.
CONTENT = [*range(8), *range(4, 8), *range(4)]


class Twins(WorkerStep):
    """Sixteen samples, each of which another one's pictures and words has."""

    @property
    def batch_size(self):
        return 4

    def plan(self, rows):
        return (
            Planned(key=f"tiny-{place:04d}", spec={"number": number}) for place, number in enumerate(CONTENT)
        )

    def build(self, ledger):
        return Twin()


class Twin(Stage):
    def __call__(self, batch):
        return [make_sample(work.spec["number"], key=work.key) for work in batch]


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request):
    with closing(start_engine(request.param, 2)) as executor:
        yield executor
    if request.param == "ray":
        from shards.ray_executor import stop

        stop()


def judge(tmp_path, server, executor, seed):
    """The status of every row, of samples that nobody judged before."""
    engine = {"kind": "served", "model": MODEL, "revision": f"r{seed}", "endpoints": [server.url]}
    settings = JudgeConfig(questions=("consistency",), engine=engine | {"samples_at_once": 4})
    twins = run_inline(tmp_path / "twins", Twins(), shard_size=16)
    judged = run_inline(
        tmp_path / f"judged{seed}",
        settings,
        kind="scores",
        inputs=[twins.storage],
        shard_size=16,
        opens=False,
        executor=executor,
        slice_size=4,
    )
    assert judged.manifest.books.made == 16
    return Counter(asked.id for asked in server.asked if not asked.id.startswith("probe"))


def test_what_two_workers_want_at_the_same_moment_is_paid_once(executor, serve, tmp_path):
    judge(tmp_path, serve(), executor, seed=1)  # after it both workers are up
    asked = judge(tmp_path, serve(latency_s=0.7), executor, seed=2)
    assert sorted(asked.values()) == [1] * 8


def kill_one(executor):
    if hasattr(executor, "_processes"):
        process = next(each for each in executor._processes if each.tasks)
        os.kill(process.process.pid, signal.SIGKILL)
    else:
        import ray

        ray.kill(next(seat for seat in executor._seats if seat.busy).actor)


@pytest.mark.timeout(60)  # a worker that waits for a dead one waits for ever
def test_what_a_worker_asked_that_died_another_asks(executor, serve, tmp_path):
    judge(tmp_path, serve(), executor, seed=1)
    server = serve(latency_s=0.7)

    def kill():
        while len(server.asked) < 4:
            time.sleep(0.01)
        kill_one(executor)

    killer = threading.Thread(target=kill)
    killer.start()
    asked = judge(tmp_path, server, executor, seed=2)
    killer.join()
    assert len(asked) == 8
    assert max(asked.values()) <= 2  # what was in flight is asked again
