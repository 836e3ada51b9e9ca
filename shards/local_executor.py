"""The local engine: processes of this machine, each in a pool of its own so that one can die alone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from typing import Any

from shards.executor import Finished
from shards.worker import Task, Worker, do_task

# Set before numpy and onnxruntime load in a worker: results must not depend on the machine's cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_worker: Worker | None = None


class LocalExecutor:
    """Runs tasks in `workers` processes of this machine."""

    def __init__(self, workers: int) -> None:
        os.environ.update(ONE_THREAD)
        self._idle = [_process() for _ in range(workers)]
        self._running: dict[Future[Any], tuple[Task, ProcessPoolExecutor]] = {}

    @property
    def has_room(self) -> bool:
        """Whether a worker is free for one more task."""
        return bool(self._idle)

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker."""
        process = self._idle.pop()
        try:
            future = process.submit(_run, task)
        except BrokenProcessPool:  # it died idle: nothing was lost
            process = _process()
            future = process.submit(_run, task)
        self._running[future] = task, process

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one."""
        ended, _ = wait_for(self._running, timeout=timeout_s, return_when=FIRST_COMPLETED)
        return [self._finish(future) for future in ended]

    def _finish(self, future: Future[Any]) -> Finished:
        task, process = self._running.pop(future)
        if isinstance(future.exception(), BrokenProcessPool):
            process.shutdown(wait=False)
            self._idle.append(_process())
            return Finished(task=task, result=None, is_dead=True)
        self._idle.append(process)  # also where the task raised: `close` must know of it
        return Finished(task=task, result=future.result())

    def close(self) -> None:
        """End all workers, what they have in hand included."""
        pools = [*self._idle, *(process for _, process in self._running.values())]
        for pool in pools:
            for child in list((pool._processes or {}).values()):  # 3.11 has no kill_workers()
                child.kill()
            pool.shutdown(wait=True, cancel_futures=True)
        self._idle, self._running = [], {}


def _process() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks, held
    return ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_start)


def _start() -> None:
    threading.Thread(target=_end_with_parent, daemon=True, name="end-with-parent").start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _run(task: Task) -> Any:  # noqa: ANN401, a Receipt or a ShardRecord
    global _worker  # noqa: PLW0603, one worker a process
    _worker = _worker or Worker()
    return do_task(task, _worker)
