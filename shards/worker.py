"""What lives in a worker process: the stage of the step at hand, and the directories that its tasks read."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from shards.index import Directory
from shards.ledger import Ledger
from shards.stage import Stage, StageConfig
from shards.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a worker must know of a step; small, and travels with every task.

    Attributes:
        name: the step's name.
        identity: hash of the step; a worker builds its stage once per identity.
        kind: what the step makes, samples or scores.
        storage: the step's directory.
        inputs: the directories it reads.
        config: builds the stage.
        ledger: where paid replies are.
        copies_from: directories of earlier recipes that hold samples of this plan.
    """

    name: str
    identity: str
    kind: Literal["samples", "scores"]
    storage: Storage
    inputs: tuple[Storage, ...]
    config: StageConfig
    ledger: Storage
    copies_from: tuple[Storage, ...] = ()


class SharedStage:
    """The stage of the step at hand, for all workers of one process."""

    def __init__(self) -> None:
        self._identity = ""
        self._stage: Stage | None = None
        self._lock = threading.Lock()

    def get(self, job: Job) -> Stage:
        """The step's stage, built on the first call for it; that of the step before is ended."""
        with self._lock:
            if self._stage is None or self._identity != job.identity:
                self._close()
                self._stage, self._identity = job.config.build(Ledger(job.ledger)), job.identity
            return self._stage

    def _close(self) -> None:
        close = getattr(self._stage, "close", None)
        self._stage = None
        if close:
            close()

    def take_counts(self) -> Mapping[str, float]:
        """What the stage counted since the last call, of a stage that counts."""
        take = getattr(self._stage, "take_counts", None)
        counts: Mapping[str, float] = take() if take else {}
        return counts


class Worker:
    """What a task finds in its process: the stage, and directories that no other task uses meanwhile."""

    def __init__(self, shared: SharedStage | None = None) -> None:
        self._shared = shared or SharedStage()
        self._identity = ""
        self._directories: dict[str, Directory] = {}

    def stage(self, job: Job) -> Stage:
        """The step's stage, built on the first call for it."""
        if self._identity != job.identity:
            self._identity, self._directories = job.identity, {}
        return self._shared.get(job)

    def take_counts(self) -> Mapping[str, float]:
        """What the stage counted since the last call, of a stage that counts."""
        return self._shared.take_counts()

    def directory(self, storage: Storage) -> Directory:
        """A directory, its index kept open."""
        return self._directories.setdefault(storage.uri, Directory(storage))


class Workers:
    """The workers of one process, for as many tasks at once as it may have in hand."""

    def __init__(self, count: int) -> None:
        shared = SharedStage()
        self._free = [Worker(shared) for _ in range(count)]

    def run(self, task: Task) -> Any:  # noqa: ANN401, a Receipt or a ShardRecord
        """Do one task; from any thread."""
        worker = self._free.pop()  # the last one used: tasks that come alone share its open directories
        try:
            return task(worker)
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
