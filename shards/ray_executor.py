"""The Ray engine: the same tasks in actors of a Ray cluster. Tasks and receipts travel, pixels never do."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import uuid
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from shards.asking import AskingTable
from shards.executor import MOST_AT_ONCE, EngineError, Finished
from shards.local_executor import ONE_THREAD
from shards.manifest import versions
from shards.server import ServerProcess, ServerSpec, publish_url
from shards.storage import Storage
from shards.worker import Task, Workers

SERVER_RESTARTS = 3
PLACED_S = 600.0  # for a place on the cluster; a node that is added for it takes minutes
START_FAILURES = 3  # of actors, one after the other without one that starts between
LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 100 << 20  # tasks and receipts only; Ray's own default is a third of the memory
CONNECT_S = 5.0


class RayAsking:
    """A worker's side of a table that is an actor.

    Args:
        table: the actor.
        name: under which the worker asks.
    """

    def __init__(self, table: Any, name: str) -> None:  # noqa: ANN401, an actor's handle
        self._table = table
        self._name = name

    def take_on(self, addresses: Set[bytes]) -> set[bytes]:
        """As `Asking`."""
        taken: set[bytes] = ray.get(self._table.take_on.remote(self._name, addresses))
        return taken

    def let_go(self, addresses: Set[bytes]) -> None:
        """As `Asking`."""
        self._table.let_go.remote(self._name, addresses)


class WorkerActor:
    """A worker process that Ray places."""

    def __init__(self, table: Any, name: str) -> None:  # noqa: ANN401, an actor's handle
        self._workers = Workers(MOST_AT_ONCE, RayAsking(table, name))

    def ready(self) -> None:
        """Answers once the actor has been placed."""

    def run(self, task: Task) -> Any:  # noqa: ANN401, a Receipt or a ShardRecord
        """Do one task."""
        return self._workers.run(task)


@dataclass(eq=False)
class _Seat:
    """An actor, the name under which it asks, and how many tasks it has in hand."""

    actor: Any
    name: str
    busy: int = 0


class RayExecutor:
    """Runs tasks in up to `workers` actors; Ray places them, and adds nodes for them where it may.

    An actor gets work once it has been placed, so a cluster smaller than asked for still works. A dead
    actor is replaced by a new one; how often is bounded by the driver, which counts deaths, and here where
    actors die before they are ready.

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
        self._seats: list[_Seat] = []
        self._starting: dict[Any, _Seat] = {}
        self._running: dict[Any, tuple[Task, _Seat]] = {}
        self._start_failures = 0
        # Where its node goes it starts again, empty: then what two are asking may be paid twice.
        self._asking: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(AskingTable).remote()
        for _ in range(workers):
            self._add_actor()

    def _add_actor(self) -> None:
        name = uuid.uuid4().hex
        actor = self._actors.options(max_concurrency=MOST_AT_ONCE).remote(self._asking, name)
        self._starting[actor.ready.remote()] = _Seat(actor, name)

    def has_room(self, at_once: int = 1) -> bool:
        """Whether a worker has fewer than `at_once` tasks in hand."""
        return any(seat.busy < at_once for seat in self._seats)

    def submit(self, task: Task) -> None:
        """Hand a task to the worker that has the fewest in hand."""
        seat = min(self._seats, key=lambda seat: seat.busy)
        seat.busy += 1
        self._running[seat.actor.run.remote(task)] = task, seat

    def wait(self, timeout_s: float) -> list[Finished]:
        """Tasks that ended since the last call; empty after `timeout_s` without one, or when room came.

        Raises:
            EngineError: the cluster is gone, or actors die as they start.
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
        seat = self._starting.pop(ref)
        try:
            ray.get(ref)
        except RayActorError as error:  # its node went, or its process cannot start there
            self._replace_unstarted(error)
            return True
        self._start_failures = 0
        self._seats.append(seat)
        return True

    def _replace_unstarted(self, error: RayActorError) -> None:
        self._start_failures += 1
        if self._start_failures >= START_FAILURES:
            raise EngineError(
                f"ray: expected a worker to start, got {START_FAILURES} that died as they started, one after "
                f"the other; see `bakery doctor --ray-address ...` and the last one's error: {error}"
            ) from error
        self._add_actor()

    def _finish(self, ref: Any) -> Finished:  # noqa: ANN401, an object reference
        task, seat = self._running.pop(ref)
        seat.busy -= 1  # also where the task raised
        try:
            return Finished(task=task, result=ray.get(ref))
        except RayActorError:
            if seat in self._seats:  # the first to be heard of what it had in hand
                self._seats.remove(seat)
                self._asking.forget.remote(seat.name)
                self._add_actor()
            return Finished(task=task, result=None, is_dead=True)

    def close(self) -> None:
        """End all workers, what they have in hand included."""
        for seat in [*self._seats, *self._starting.values()]:
            ray.kill(seat.actor)
        ray.kill(self._asking)
        self._seats, self._starting, self._running = [], {}, {}


class ServerActor:
    """Owns one server process, on the node and the GPUs that Ray gave it. If it ends, so does the actor.

    Args:
        spec: how to run the server.
        folder: where its address is published.
        number: of the replica.
        host: address to listen on; "" for the node's own.
    """

    def __init__(self, spec: ServerSpec, folder: Storage, number: int, host: str) -> None:
        self._server = ServerProcess(spec, host or _node_address())
        publish_url(folder, spec.name, number, self._server.url)
        threading.Thread(target=self._end_with_server, daemon=True).start()

    def _end_with_server(self) -> None:
        self._server.process.wait()
        os._exit(1)  # Ray starts the actor again, and it the server

    def ready(self) -> None:
        """Answers once the server is healthy."""


class RayServers:
    """Replicas of a server, each owned by an actor; Ray places them and restarts what dies.

    Returns when one replica is healthy; others join as they come.

    Raises:
        EngineError: the cluster lacks GPUs or has none free, or no replica starts.
    """

    def __init__(self, spec: ServerSpec, folder: Storage, *, address: str | None, cpus: float) -> None:
        _start(1, address, cpus + spec.replicas * spec.cpus)
        _check_gpus(spec)
        _check_fits(spec.cpus, spec.gpus)
        host = "" if len(_nodes()) > 1 else LOOPBACK
        actor: Any = ray.remote(num_cpus=spec.cpus, num_gpus=spec.gpus, max_restarts=SERVER_RESTARTS)(
            ServerActor
        )
        self._actors = [actor.remote(spec, folder, number, host) for number in range(spec.replicas)]
        try:
            self._wait_for_one(spec)
        except BaseException:
            self.close()
            raise

    def _wait_for_one(self, spec: ServerSpec) -> None:
        waiting = [actor.ready.remote() for actor in self._actors]
        while waiting:
            longest_s = PLACED_S + spec.start_s
            ended, waiting = ray.wait(waiting, timeout=longest_s)
            if not ended:
                raise EngineError(
                    f"resources.{spec.name}: expected a replica within {longest_s:g} s, got none: no node "
                    f"has {spec.gpus:g} GPUs and {spec.cpus:g} CPUs free; end what holds them, or join a "
                    "larger cluster with run.ray_address"
                )
            try:
                ray.get(ended[0])
                return
            except RayActorError as error:
                failure = error
        raise EngineError(f"ray: no server starts: {failure}")

    def close(self) -> None:
        """End all servers."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []


def check_gpus(spec: ServerSpec, address: str | None) -> None:
    """Whether a cluster has the GPUs that servers need; joins it, or starts Ray on this machine, to see.

    Raises:
        EngineError: it has fewer, or there is none at the address.
    """
    _start(1, address, 1)
    _check_gpus(spec)


def _check_gpus(spec: ServerSpec) -> None:
    needed = spec.replicas * spec.gpus
    held = sum(node["Resources"].get("GPU", 0) for node in _nodes())
    if needed > held:
        raise EngineError(
            f"resources.{spec.name}: needs {needed:g} GPUs ({spec.replicas} replicas of {spec.gpus:g}), "
            f"cluster has {held:g}; ask for fewer replicas, or join a larger cluster with run.ray_address"
        )


def _node_address() -> str:
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _cause(error: Any) -> BaseException:  # noqa: ANN401, a RayTaskError
    """What a task raised, as it is; Ray's own mixture of both says a traceback in place of its message."""
    return error.cause if isinstance(error.cause, BaseException) else error


def _start(workers: int, address: str | None, cpus: float) -> None:
    """Start Ray once a run, or join the cluster at `address`."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the default of later versions
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        check_address(address)
        ray.init(address=address, **quiet)
    else:
        cores = math.ceil(workers * cpus)
        ray.init(num_cpus=cores, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)


def check_address(address: str) -> None:
    """Whether something listens at an address of the form host:port: Ray itself would try for many minutes.

    Raises:
        EngineError: nothing does.
    """
    host, colon, port = address.rpartition(":")
    if "/" in address or not colon or not port.isdecimal():
        return  # `auto`, or a client's address
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise EngineError(f"ray: expected a cluster at {address}, got: {error}; see `ray status`") from error


def _check_fits(cpus: float, gpus: float) -> None:
    resources = [node["Resources"] for node in _nodes()]
    if any(found.get("CPU", 0) >= cpus and found.get("GPU", 0) >= gpus for found in resources):
        return
    largest = ", ".join(f"{r.get('CPU', 0):g} CPUs and {r.get('GPU', 0):g} GPUs" for r in resources)
    raise EngineError(
        f"ray: a worker or server needs {cpus:g} CPUs and {gpus:g} GPUs on one node, the cluster's nodes "
        f"have: {largest or 'nothing'}; ask for less or join a larger cluster with run.ray_address"
    )


def cluster_versions(address: str) -> dict[str, dict[str, str]]:
    """Versions of what can change a result, on every node of a cluster, by the node's address."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    _start(1, address, 1)
    ask: Any = ray.remote(num_cpus=0)(versions)
    asked = {
        node["NodeManagerAddress"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in _nodes()
    }
    return {address: ray.get(ref) for address, ref in asked.items()}


def is_up() -> bool:
    """Whether this process is in a cluster."""
    return bool(ray.is_initialized())


def stop() -> None:
    """Leave the cluster; a local one ends with it."""
    if ray.is_initialized():
        ray.shutdown()
