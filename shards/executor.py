"""What an engine that runs tasks is to the driver: submit, wait, and hear of workers that died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from shards.worker import Task

MOST_AT_ONCE = 2  # tasks that a worker can have in hand: one that waits for servers, and the one after it


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

    A worker keeps its stage between tasks. Tasks are handed out only while there is room, so that a plan of
    any length costs no memory.
    """

    def has_room(self, at_once: int = 1) -> bool:
        """Whether a worker has fewer than `at_once` tasks in hand; at most `MOST_AT_ONCE` are asked for."""

    def submit(self, task: Task) -> None:
        """Hand a task to the worker that has the fewest in hand."""

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one."""

    def close(self) -> None:
        """End all workers, what they have in hand included."""
