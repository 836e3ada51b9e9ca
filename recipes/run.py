"""Walks a recipe's steps in order: skips what is finished, goes on with what broke off, makes the rest."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import islice
from types import TracebackType

import pyarrow.parquet as pq

from filters.select import ShortfallError
from recipes.display import Display, Line
from recipes.identity import computed, content, hashes
from recipes.inputs import Samples, contents, rows_of, samples_of
from recipes.schema import Recipe, RecipeError, RunSettings, Step
from recipes.servers import Servers, asked_servers, check_endpoints, missing_for
from recipes.topup import topup_words
from recipes.trace import STAMPS
from shards.driver_step import DriverStep, Input
from shards.executor import Executor
from shards.finish import finish
from shards.forgotten import read_forgotten
from shards.http_client import ServerWantedError
from shards.index import Directory
from shards.lease import Lease
from shards.ledger import FOLDER, Ledger
from shards.manifest import (
    Manifest,
    ManifestError,
    directory_name,
    read_manifest,
    stamp,
    verify,
    versions,
    write_manifest,
)
from shards.plan import Place, PlanSummary, Refused, Unused, plan_sizes, read_summary, write_plan
from shards.production import Production, Progress
from shards.sample import Json
from shards.stage import Planned
from shards.storage import SCRATCH, Storage
from shards.worker import Job
from shards.worker_step import WorkerStep

LEDGER = FOLDER


class Run:
    """One run of a recipe into one output directory, which it owns while it lasts."""

    def __init__(self, recipe: Recipe, out: Storage, display: Display) -> None:
        self._recipe = recipe
        self._out = out
        self._display = display
        self._hashes = hashes(recipe)
        self._lease = Lease(out)
        self._stack = ExitStack()
        self._executor: tuple[RunSettings, Executor] | None = None
        self._servers = Servers(recipe, out)
        self._found_ray = ray_is_up()
        display.lines = {step.name: Line(step.name, step.type) for step in recipe.steps.values()}

    def __enter__(self) -> Run:
        with self._stack:  # what was entered is left again if the next cannot be
            self._stack.enter_context(self._lease)
            self._stack.enter_context(self._display)
            self._stack.callback(self._end_ray)
            self._stack.callback(self._servers.close)
            self._stack.callback(self._end_workers)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _end_workers(self) -> None:
        if self._executor:
            self._executor[1].close()
        self._executor = None

    def _end_ray(self) -> None:
        """End the Ray that this run started, also where a step could not begin."""
        if ray_is_up() and not self._found_ray:
            from shards import ray_executor

            ray_executor.stop()

    def execute(self, *, only: Sequence[str] = (), until: str | None = None) -> dict[str, Manifest]:
        """Make what is not finished; return the manifest of each step that is.

        Args:
            only: make these steps alone; what they read must be finished.
            until: make steps up to this one.

        Raises:
            RecipeError: a source of a step that is not finished is not there.
        """
        self.check_sources(only, until)
        self._check_servers(only, until)
        Ledger(self._out.child(LEDGER)).compact()
        manifests = {}
        for name, step in self._recipe.steps.items():
            finished = self._finished(step)
            if finished is None and (not only or name in only):
                finished = self._make(step)
            if finished is not None:
                manifests[name] = finished
            if name == until:
                break
        return manifests

    def check_sources(self, only: Sequence[str], until: str | None) -> None:
        """All that is missing at once, before the first step: a later step's source would be missed in hours.

        Raises:
            RecipeError: naming each step and what it lacks.
        """
        lacking = [
            f"{self._recipe.path}: steps.{step.name}: {what}"
            for step in self._to_make(only, until)
            for what in missing_for(self._recipe, step)
        ]
        if lacking:
            raise RecipeError(lacking)

    def _to_make(self, only: Sequence[str], until: str | None) -> Iterator[Step]:
        """The steps that are asked for and not finished."""
        for name, step in self._recipe.steps.items():
            if (not only or name in only) and read_manifest(self.storage(name)) is None:
                yield step
            if name == until:
                break

    def _check_servers(self, only: Sequence[str], until: str | None) -> None:
        """Whether the cluster has the GPUs that servers need, and servers that exist serve what is declared,
        where they will be asked for certain: a ledger that holds anything may answer all, and is first."""
        if self._out.exists(LEDGER):
            return
        steps = list(self._to_make(only, until))
        for step in steps:
            self._servers.check_room(step)
        check_endpoints(steps)
        self._end_ray()

    def storage(self, name: str) -> Storage:
        """The directory of a step."""
        return self._out.child(directory_name(name, self._hashes[name]))

    def _finished(self, step: Step) -> Manifest | None:
        storage = self.storage(step.name)
        manifest = read_manifest(storage)
        if manifest is None:
            return None
        storage.delete("work")  # left where a run ended between the manifest and its own tidying
        verify(storage, manifest, self._out.child(STAMPS))
        self._display.kept(step.name, manifest)
        return manifest

    def _make(self, step: Step) -> Manifest:
        self._display.begin(step.name, self.storage(step.name).uri)
        began = time.perf_counter()
        try:
            make = self._produce if step.is_of_workers else self._drive
            manifest = make(step, began)
        except BaseException as error:
            error.add_note(f"in {self._recipe.path}: steps.{step.name}")
            if isinstance(error, ShortfallError):
                error.add_note(topup_words(self._recipe, self._out, step.name))
            with suppress(OSError):  # a full disk has no room for this either, and is told already
                self._display.failed(step.name)
            raise
        stamp(self.storage(step.name), manifest, self._out.child(STAMPS))
        self._display.made(step.name, manifest)
        return manifest

    def _draft(self, step: Step) -> Manifest:
        parents = {
            role: [directory_name(name, self._hashes[name]) for name in names]
            for role, names in step.inputs.items()
        }
        return Manifest(
            name=step.name,
            type=step.type,
            hash=self._hashes[step.name],
            kind=step.step_type.kind,
            config=computed(step),
            run=step.run.model_dump(mode="json"),
            parents=parents,
            versions=versions(),
        )

    # Steps that workers make

    def _produce(self, step: Step, began: float) -> Manifest:
        storage = self.storage(step.name)
        storage.delete(SCRATCH)
        draft = self._draft(step)
        inputs = [samples_of(self._out, name) for names in draft.parents.values() for name in names]
        plan = self._plan(step, inputs, contents(self._out, draft.parents))
        while True:
            try:
                return self._work(step, plan, inputs, draft, began)
            except ServerWantedError as error:
                wanted = error.server
            self._start_server(wanted, step)

    def check_asked(self, name: str) -> None:
        """Look whether a step can be made: what it reads is there, and who it asks answers.

        Raises:
            ManifestError: an input is not finished.
            EndpointError: no endpoint answers, or one is not what is declared.
            EngineError: its servers do not start.
        """
        step = self._recipe.steps[name]
        names = [directory_name(each, self._hashes[each]) for each in step.reads]
        worker_step(step).reading([samples_of(self._out, each).storage for each in names])
        for _, served in asked_servers(step.settings):
            self._start_server(served.server, step)
        self._servers.settled(worker_step(step)).check_engine(Ledger(self._out.child(LEDGER)))

    def _start_server(self, name: str, step: Step) -> None:
        """Start a server of the recipe; a cluster has room for workers beside it, not before it."""
        self._end_workers()
        if not self._servers.are_up:
            self._end_ray()  # one that was started for workers alone has no room for more
        self._servers.start(name, step)

    def _work(
        self, step: Step, plan: PlanSummary, inputs: Sequence[Samples], draft: Manifest, began: float
    ) -> Manifest:
        """Make a step by its plan; what an earlier call made of it is there.

        Raises:
            ServerWantedError: something is to be asked of a server that is not started.
        """
        storage = self.storage(step.name)
        settings = self._servers.settled(worker_step(step))
        storages = tuple(samples.storage for samples in inputs)
        job = Job(
            name=step.name,
            kind="samples" if draft.kind == "samples" else "scores",
            storage=storage,
            inputs=storages,
            config=settings.prepared(storage).reading(storages),
            ledger=self._out.child(LEDGER),
            copies_from=tuple(self._out.child(name) for name in plan.copies_from),
            forgotten=self._out,
        )
        production = Production(
            job,
            plan_sizes(plan, step.shard_size),
            self._engine(step.run),
            slice_size=step.run.slice_size,
            observe=lambda progress: self._observe(step.name, progress),
        )
        records = production.run()
        production.progress.counts.update(
            job.config.make_beside(rows_of(inputs), storages, Ledger(job.ledger), storage)
        )
        self._lease.check()
        stats = _stats(production.progress, time.perf_counter() - began)
        return finish(storage, replace(draft, stats=stats), plan, records, settings.check_scores)

    def _observe(self, name: str, progress: Progress) -> None:
        self._lease.check_heard()
        self._display.observe(name, progress)

    def _plan(self, step: Step, inputs: Sequence[Samples], read_from: str) -> PlanSummary:
        """The plan that lies there, if it was made from what the inputs hold now; otherwise a new one."""
        storage = self.storage(step.name)
        found = read_summary(storage)
        if found and found.read_from == read_from:
            return found
        storage.delete("")
        rows = rows_of(inputs)
        made, copies_from = self._copies(step)
        planned = worker_step(step).plan(rows)
        return write_plan(
            storage,
            read_forgotten(self._out).refuse(_limited(planned, step.limit), step.settings),
            shard_size=step.shard_size,
            recipe=content(step),
            made=made,
            copies_from=copies_from,
            read=sum(map(len, inputs)) if inputs else None,
            read_from=read_from,
        )

    def _copies(self, step: Step) -> tuple[dict[str, Place], list[str]]:
        """Samples that finished directories of the same type hold, by what made them."""
        made: dict[str, Place] = {}
        names: list[str] = []
        for name in self._out.folders() if step.step_type.is_costly else ():
            storage = self._out.child(name)
            manifest = read_manifest(storage)
            if (
                manifest
                and manifest.type == step.type
                and manifest.config.get("version") == computed(step)["version"]
            ):
                for shard in Directory(storage).shards:
                    with storage.open(f"index/{shard:05d}.parquet") as file:
                        column = pq.read_table(file, columns=["made_by"]).column("made_by").to_pylist()
                    made.update({by: (len(names), shard, row) for row, by in enumerate(column)})
                names.append(name)
        return made, names

    def _engine(self, run: RunSettings) -> Executor:
        """The engine for these settings. One at a time: idle workers of another hold a cluster's places."""
        key = run.model_copy(update={"slice_size": 1})
        if self._executor and self._executor[0] == key:
            return self._executor[1]
        self._end_workers()
        if not self._servers.are_up:
            self._end_ray()  # one that was started for fewer workers has no room for more
        self._executor = key, start_executor(run)
        return self._executor[1]

    # Steps that the driver makes

    def _drive(self, step: Step, began: float) -> Manifest:
        storage = self.storage(step.name)
        draft = self._draft(step)
        inputs = {role: [self._input(name) for name in names] for role, names in draft.parents.items()}
        assert isinstance(step.settings, DriverStep)
        if draft.kind == "model":
            self._end_workers()  # training takes the whole machine, and its ranks the cluster's places
        result = step.settings.make(inputs, storage)
        self._lease.check()
        stats = {**result.stats, "seconds": round(time.perf_counter() - began, 3)}
        manifest = replace(draft, files=result.files, books=result.books, stats=stats)
        write_manifest(storage, manifest)
        storage.delete(SCRATCH)
        return manifest

    def _input(self, name: str) -> Input:
        storage = self._out.child(name)
        manifest = read_manifest(storage)
        if manifest is None:
            raise ManifestError(f"{storage.uri}: expected a finished directory, got none; run its step first")
        return Input(storage=storage, manifest=manifest)


def worker_step(step: Step) -> WorkerStep:
    """Its settings, of a step that workers make."""
    assert isinstance(step.settings, WorkerStep)
    return step.settings


def ray_is_up() -> bool:
    """Whether this process is in a Ray cluster; imports nothing of Ray to tell."""
    ray_executor = sys.modules.get("shards.ray_executor")
    return ray_executor is not None and bool(ray_executor.is_up())


def start_executor(run: RunSettings) -> Executor:
    """Start the engine that a recipe names."""
    workers = run.workers or os.cpu_count() or 1
    if run.engine == "local":
        from shards.local_executor import LocalExecutor

        return LocalExecutor(workers)
    from shards.ray_executor import RayExecutor

    return RayExecutor(workers, address=run.ray_address, cpus=run.cpus_per_worker, gpus=run.gpus_per_worker)


def _limited(
    planned: Iterable[Planned | Refused | Unused], limit: int | None
) -> Iterator[Planned | Refused | Unused]:
    if limit is None:
        yield from planned
        return
    yield from islice(planned, limit)


def _stats(progress: Progress, seconds: float) -> dict[str, Json]:
    return {
        "seconds": round(seconds, 3),
        "worker_s": round(progress.worker_s, 3),
        "samples_per_s": round((progress.made + progress.failed) / max(seconds, 1e-9), 3),
        "copied": progress.copied,
        "resumed": progress.resumed,
        "deaths": progress.deaths,
        "processes": len(progress.pids),
        **({"counts": dict(sorted(progress.counts.items()))} if progress.counts else {}),
    }
