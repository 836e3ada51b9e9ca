"""The Ray engine: the same tasks in actors of a Ray cluster. Tasks and receipts travel, pixels never do."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from shards.executor import EngineError, Finished
from shards.local_executor import ONE_THREAD
from shards.manifest import versions
from shards.worker import Task, Worker

OBJECT_STORE_BYTES = 100 << 20  # tasks and receipts only; Ray's own default is a third of the memory


class WorkerActor:
    """A worker in a process that Ray places."""

    def __init__(self) -> None:
        self._worker = Worker()

    def ready(self) -> None:
        """Answers once the actor has been placed."""

    def run(self, task: Task) -> Any:  # noqa: ANN401, a Receipt or a ShardRecord
        """Do one task."""
        return task(self._worker)


class RayExecutor:
    """Runs tasks in up to `workers` actors; Ray places them, and adds nodes for them where it may.

    An actor gets work once it has been placed, so a cluster smaller than asked for still works. A dead
    actor is replaced by a new one; how often is bounded by the driver, which counts deaths.

    Args:
        workers: actors wanted.
        address: of a cluster to join; without one Ray starts on this machine.
        cpus: of each actor.
        gpus: of each actor; a fraction shares one.

    Raises:
        EngineError: no actor can ever be placed.
    """

    def __init__(self, workers: int, *, address: str | None = None, cpus: float = 1, gpus: float = 0) -> None:
        _start(workers, address, cpus)
        _check_fits(cpus, gpus)
        environment = {"env_vars": ONE_THREAD}
        self._actors: Any = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, runtime_env=environment
        )(WorkerActor)
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Task, Any]] = {}
        for _ in range(workers):
            self._add_actor()

    def _add_actor(self) -> None:
        actor = self._actors.remote()
        self._starting[actor.ready.remote()] = actor

    @property
    def has_room(self) -> bool:
        """Whether a worker is free for one more task."""
        return bool(self._idle)

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker."""
        actor = self._idle.pop()
        self._running[actor.run.remote(task)] = task, actor

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one, or when room came.

        Raises:
            EngineError: the cluster is gone.
        """
        try:
            ended, _ = ray.wait([*self._running, *self._starting], timeout=timeout_s)
            return [self._finish(ref) for ref in ended if not self._has_started(ref)]
        except RayTaskError as error:
            raise _cause(error) from error
        except RayError as error:
            raise EngineError(f"ray: the cluster failed: {error}; run again to go on") from error

    def _has_started(self, ref: Any) -> bool:  # noqa: ANN401, an object reference
        if ref not in self._starting:
            return False
        actor = self._starting.pop(ref)
        ray.get(ref)
        self._idle.append(actor)
        return True

    def _finish(self, ref: Any) -> Finished:  # noqa: ANN401, an object reference
        task, actor = self._running.pop(ref)
        try:
            result = ray.get(ref)
        except RayActorError:
            self._add_actor()
            return Finished(task=task, result=None, is_dead=True)
        except RayTaskError:
            self._idle.append(actor)
            raise
        self._idle.append(actor)
        return Finished(task=task, result=result)

    def close(self) -> None:
        """End all workers, what they have in hand included."""
        running = [actor for _, actor in self._running.values()]
        for actor in [*self._idle, *self._starting.values(), *running]:
            ray.kill(actor)
        self._idle, self._starting, self._running = [], {}, {}


def _cause(error: Any) -> BaseException:  # noqa: ANN401, a RayTaskError
    cause: BaseException = error.as_instanceof_cause()
    return cause


def _start(workers: int, address: str | None, cpus: float) -> None:
    """Start Ray once a run, or join the cluster at `address`."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the default of later versions
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        ray.init(address=address, **quiet)
    else:
        cores = math.ceil(workers * cpus)
        ray.init(num_cpus=cores, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)


def _check_fits(cpus: float, gpus: float) -> None:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    if any(found.get("CPU", 0) >= cpus and found.get("GPU", 0) >= gpus for found in resources):
        return
    largest = ", ".join(f"{r.get('CPU', 0):g} CPUs and {r.get('GPU', 0):g} GPUs" for r in resources)
    raise EngineError(
        f"ray: a worker needs {cpus:g} CPUs and {gpus:g} GPUs on one node, the cluster's nodes have: "
        f"{largest or 'nothing'}; ask for less or join a larger cluster with run.ray_address"
    )


def cluster_versions(address: str) -> dict[str, dict[str, str]]:
    """Versions of what can change a result, on every node of a cluster, by the node's address."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    _start(1, address, 1)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    ask: Any = ray.remote(num_cpus=0)(versions)
    asked = {
        node["NodeManagerAddress"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in nodes
        if node["Alive"]
    }
    return {address: ray.get(ref) for address, ref in asked.items()}


def stop() -> None:
    """Leave the cluster; a local one ends with it."""
    if ray.is_initialized():
        ray.shutdown()
