"""The local engine: processes of this machine, each with a pipe of its own so that one can die alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from typing import Any

from shards.executor import MOST_AT_ONCE, EngineError, Finished
from shards.worker import Task, Workers

# Set before numpy and onnxruntime load in a worker: results must not depend on the machine's cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(eq=False)
class _Process:
    """A worker process as the driver sees it.

    Attributes:
        process: itself.
        pipe: over which tasks go and answers come.
        tasks: that it has in hand, by number.
    """

    process: BaseProcess
    pipe: Connection
    tasks: dict[int, Task] = field(default_factory=dict)


class LocalExecutor:
    """Runs tasks in `workers` processes of this machine."""

    def __init__(self, workers: int) -> None:
        os.environ.update(ONE_THREAD)
        self._processes = [_start() for _ in range(workers)]
        self._numbers = count()

    def has_room(self, at_once: int = 1) -> bool:
        """Whether a worker has fewer than `at_once` tasks in hand."""
        return any(len(process.tasks) < at_once for process in self._processes)

    def submit(self, task: Task) -> None:
        """Hand a task to the worker that has the fewest in hand."""
        process = min(self._processes, key=lambda process: len(process.tasks))
        number = next(self._numbers)
        process.tasks[number] = task
        with suppress(OSError):  # it died: `wait` hears of that
            process.pipe.send((number, task))

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one."""
        busy = {process.pipe: process for process in self._processes if process.tasks}
        ended = [busy[pipe] for pipe in wait_for(busy, timeout_s) if isinstance(pipe, Connection)]
        return [finished for process in ended for finished in self._hear(process)]

    def _hear(self, process: _Process) -> list[Finished]:
        """One answer of a worker, or its end."""
        try:
            number, result, error, where = process.pipe.recv()
        except (EOFError, OSError):
            _end(process)
            self._processes[self._processes.index(process)] = _start()
            return [Finished(task=task, result=None, is_dead=True) for task in process.tasks.values()]
        task = process.tasks.pop(number)
        if error is not None:
            raise error from EngineError(f"in a worker process:\n{where}")
        return [Finished(task=task, result=result)]

    def close(self) -> None:
        """End all workers, what they have in hand included."""
        for process in self._processes:
            _end(process)
        self._processes = []


def _start() -> _Process:
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks, held
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that its end is heard
    return _Process(process, ours)


def _end(process: _Process) -> None:
    process.process.kill()
    process.process.join()
    process.process.close()
    process.pipe.close()


def _serve(pipe: Connection) -> None:
    """A worker process: does the tasks that come, until its driver ends it, or itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to hear
    workers, sending = Workers(MOST_AT_ONCE), threading.Lock()
    threads = ThreadPoolExecutor(MOST_AT_ONCE)
    while True:
        try:
            number, task = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        threads.submit(workers.run, task).add_done_callback(partial(_answer, pipe, sending, number))


def _answer(pipe: Connection, sending: threading.Lock, number: int, done: Future[Any]) -> None:
    error = done.exception()
    said = (None if error else done.result(), error, "".join(traceback.format_exception(error)))
    with sending, suppress(OSError):  # a driver that is gone hears nothing
        pipe.send((number, *said))
