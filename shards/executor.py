"""What an engine that runs tasks is to the driver: submit, wait, and hear of workers that died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from shards.worker import Task


class EngineError(RuntimeError):
    """The engine itself failed: *where: what; the way out*. What was committed is kept."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A task that ended. `result` is None where its worker died."""

    task: Task
    result: Any
    is_dead: bool = False


class Executor(Protocol):
    """Runs tasks in worker processes. An exception of a task comes out of `wait` as it is.

    A worker keeps its stage between tasks. Tasks are handed out only while `has_room`, so that a plan of
    any length costs no memory.
    """

    @property
    def has_room(self) -> bool:
        """Whether a worker is free for one more task."""

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker."""

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one."""

    def close(self) -> None:
        """End all workers, what they have in hand included."""
