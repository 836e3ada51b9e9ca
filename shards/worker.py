"""What lives in a worker process: the stage of the step at hand, and the directories that its tasks read."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from shards.asking import Asking, AskingAlone
from shards.forgotten import Refusing, read_forgotten
from shards.index import Directory
from shards.ledger import Ledger
from shards.stage import Stage
from shards.storage import Storage
from shards.worker_step import WorkerStep


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a worker must know of a step; small, and travels with every task.

    Attributes:
        name: the step's name.
        kind: what the step makes, samples or scores.
        storage: the step's directory.
        inputs: the directories it reads.
        config: builds the stage.
        ledger: where paid replies are.
        copies_from: directories of earlier recipes that hold samples of this plan.
        forgotten: the output with the list of what was taken down.
    """

    name: str
    kind: Literal["samples", "scores"]
    storage: Storage
    inputs: tuple[Storage, ...]
    config: WorkerStep
    ledger: Storage
    copies_from: tuple[Storage, ...] = ()
    forgotten: Storage | None = None


class SharedStage:
    """The stage of the step at hand, for all workers of one process."""

    def __init__(self, asking: Asking | None = None) -> None:
        self._asking = asking or AskingAlone()
        self._job: Job | None = None
        self._stage: Stage | None = None
        self._lock = threading.Lock()

    def get(self, job: Job) -> Stage:
        """The step's stage, built on the first call for it; that of the step before is ended.

        A step's hash would not tell one stage from another: two steps may differ in where their servers or
        their scratch files are, and in nothing else.
        """
        with self._lock:
            if self._stage is None or self._job != job:
                self._close()
                self._stage, self._job = _built(job, self._asking), job
            return self._stage

    def _close(self) -> None:
        stage, self._stage = self._stage, None
        if stage:
            stage.close()

    def take_counts(self) -> Mapping[str, float]:
        """What the stage counted since the last call."""
        return self._stage.take_counts() if self._stage else {}


def _built(job: Job, asking: Asking) -> Stage:
    stage = job.config.build(Ledger(job.ledger, asking))
    forgotten = read_forgotten(job.forgotten) if job.forgotten else None
    return Refusing(stage, forgotten) if forgotten else stage


class Worker:
    """What a task finds in its process: the stage, and directories that no other task uses meanwhile."""

    def __init__(self, shared: SharedStage | None = None) -> None:
        self._shared = shared or SharedStage()
        self._job: Job | None = None
        self._directories: dict[str, Directory] = {}

    def stage(self, job: Job) -> Stage:
        """The step's stage, built on the first call for it."""
        if self._job != job:
            self._job, self._directories = job, {}
        return self._shared.get(job)

    def take_counts(self) -> Mapping[str, float]:
        """What the stage counted since the last call."""
        return self._shared.take_counts()

    def directory(self, storage: Storage) -> Directory:
        """A directory, its index kept open."""
        return self._directories.setdefault(storage.uri, Directory(storage))


class Workers:
    """The workers of one process, for as many tasks at once as it may have in hand.

    Args:
        count: of tasks at once.
        asking: what the workers of all processes are asking.
    """

    def __init__(self, count: int, asking: Asking) -> None:
        shared = SharedStage(asking)
        self._free = [Worker(shared) for _ in range(count)]

    def run(self, task: Task) -> Any:  # noqa: ANN401, a Receipt or a ShardRecord
        """Do one task; from any thread."""
        worker = self._free.pop()  # the last one used: tasks that come alone share its open directories
        try:
            return do_task(task, worker)
        finally:
            self._free.append(worker)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the driver hears of a task: never pixels.

    Attributes:
        name: of the task.
        made, failed, copied: samples.
        seconds: the task took.
        pid: of the process that did it.
        counts: what its stage counted, e.g. requests and tokens.
    """

    name: str
    made: int = 0
    failed: int = 0
    copied: int = 0
    seconds: float = 0.0
    pid: int = field(default_factory=os.getpid)
    counts: Mapping[str, float] = field(default_factory=dict)


class Task(Protocol):
    """A piece of work that travels to a worker; frozen and picklable.

    Attributes:
        name: for messages.
        mark: the file in the step's directory that says which samples it has in hand; "" if none.
    """

    @property
    def job(self) -> Job: ...

    @property
    def name(self) -> str: ...

    @property
    def mark(self) -> str: ...

    def __call__(self, worker: Worker) -> Any: ...  # noqa: ANN401, a Receipt or a ShardRecord


def do_task(task: Task, worker: Worker) -> Any:  # noqa: ANN401, a Receipt or a ShardRecord
    """What a task makes, in a worker's process; what it raises can be read by the driver's.

    Raises:
        RuntimeError: in the place of an exception that cannot be made again from its pickle, which an engine
            would take for the worker's death.
    """
    try:
        return task(worker)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301, our own bytes
        except Exception:  # noqa: BLE001, whatever its class does
            told = RuntimeError(f"{type(error).__name__}: {error}")
            for note in getattr(error, "__notes__", ()):
                told.add_note(note)
            raise told from error
        raise
