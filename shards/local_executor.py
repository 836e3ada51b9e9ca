"""The local engine: processes of this machine, each with a pipe of its own so that one can die alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from typing import Any

from shards.asking import AskingTable
from shards.executor import MOST_AT_ONCE, EngineError, Finished
from shards.worker import Task, Workers

# Set before numpy and onnxruntime load in a worker: results must not depend on the machine's cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class _TakeOn:
    """What a worker wants to ask."""

    number: int
    addresses: Set[bytes]


@dataclass(frozen=True)
class _TakenOn:
    """What of it the worker may ask."""

    number: int
    addresses: set[bytes]


@dataclass(frozen=True)
class _LetGo:
    """What a worker asks no more."""

    addresses: Set[bytes]


@dataclass(eq=False)
class _Process:
    """A worker process as the driver sees it.

    Attributes:
        process: itself.
        pipe: over which tasks go and answers come.
        tasks: that it has in hand, by number.
        name: under which it asks.
    """

    process: BaseProcess
    pipe: Connection
    tasks: dict[int, Task] = field(default_factory=dict)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def send(self, message: object) -> None:
        """To a worker that may have died: `wait` hears of that."""
        with suppress(OSError):
            self.pipe.send(message)


class LocalExecutor:
    """Runs tasks in `workers` processes of this machine."""

    def __init__(self, workers: int) -> None:
        os.environ.update(ONE_THREAD)
        self._processes = [_start() for _ in range(workers)]
        self._numbers = count()
        self._asking = AskingTable()

    def has_room(self, at_once: int = 1) -> bool:
        """Whether a worker has fewer than `at_once` tasks in hand."""
        return any(len(process.tasks) < at_once for process in self._processes)

    def submit(self, task: Task) -> None:
        """Hand a task to the worker that has the fewest in hand."""
        process = min(self._processes, key=lambda process: len(process.tasks))
        number = next(self._numbers)
        process.tasks[number] = task
        process.send((number, task))

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one."""
        until = time.monotonic() + timeout_s
        busy = {process.pipe: process for process in self._processes if process.tasks}
        while True:
            heard = wait_for(busy, max(until - time.monotonic(), 0))
            said = [busy[pipe] for pipe in heard if isinstance(pipe, Connection)]
            finished = [each for process in said for each in self._hear(process)]
            if finished or time.monotonic() >= until:
                return finished

    def _hear(self, process: _Process) -> list[Finished]:
        """One message of a worker, or its end."""
        try:
            message = process.pipe.recv()
        except (EOFError, OSError):
            return self._replace(process)
        if isinstance(message, _TakeOn):
            own = self._asking.take_on(process.name, message.addresses)
            process.send(_TakenOn(message.number, own))
        elif isinstance(message, _LetGo):
            self._asking.let_go(process.name, message.addresses)
        else:
            return [self._finished(process, *message)]
        return []

    def _replace(self, process: _Process) -> list[Finished]:
        """Another worker for one that died."""
        _end(process)
        self._asking.forget(process.name)
        self._processes[self._processes.index(process)] = _start()
        return [Finished(task=task, result=None, is_dead=True) for task in process.tasks.values()]

    def _finished(
        self, process: _Process, number: int, result: object, error: BaseException | None, where: str
    ) -> Finished:
        task = process.tasks.pop(number)
        if error is not None:
            raise error from EngineError(f"in a worker process:\n{where}")
        return Finished(task=task, result=result)

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
    driver = _Driver(pipe)
    workers = Workers(MOST_AT_ONCE, driver)
    threads = ThreadPoolExecutor(MOST_AT_ONCE)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        if isinstance(message, _TakenOn):
            driver.hear(message)
            continue
        number, task = message
        threads.submit(workers.run, task).add_done_callback(partial(driver.answer, number))


class _Driver:
    """The driver as a worker's threads see it: what they say to it, and what it lets them ask."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._numbers = count()
        self._wanted: dict[int, Future[set[bytes]]] = {}

    def _send(self, message: object) -> None:
        with self._sending, suppress(OSError):  # a driver that is gone hears nothing
            self._pipe.send(message)

    def answer(self, number: int, done: Future[Any]) -> None:
        """Say what became of a task."""
        error = done.exception()
        said = (None if error else done.result(), error, "".join(traceback.format_exception(error)))
        self._send((number, *said))

    def take_on(self, addresses: Set[bytes]) -> set[bytes]:
        """As `Asking`."""
        number, taken = next(self._numbers), Future[set[bytes]]()
        self._wanted[number] = taken
        self._send(_TakeOn(number, addresses))
        return taken.result()

    def hear(self, taken: _TakenOn) -> None:
        """What the driver lets one of the threads ask."""
        self._wanted.pop(taken.number).set_result(taken.addresses)

    def let_go(self, addresses: Set[bytes]) -> None:
        """As `Asking`."""
        self._send(_LetGo(addresses))
