"""Servers that a recipe asks for under `resources`: started when a step needs them, ended with the run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, ConfigDict, Field

from shards.listing import ListingError, expand
from shards.server import ServerSpec, published_urls
from shards.settings import Settings
from shards.storage import Storage

if TYPE_CHECKING:
    from recipes.schema import Recipe, Step
    from shards.ray_executor import RayServers
    from shards.served_settings import ServedSettings
    from shards.worker_step import WorkerStep

FOLDER = "servers"
# An argument that says where something lies. What else has a $ is a script, whose variables are its shell's.
PLACE = re.compile(r"\$(\{\w+\}|\w+)(/[^$\s]*)?")


class ServerSettings(BaseModel):
    """A kind of server, run on the cluster; no result depends on how many there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    replicas: int = Field(default=1, ge=1, le=1024, description="how many servers")
    gpus: float = Field(default=1, ge=0, description="of each")
    cpus: float = Field(default=0, ge=0, description="of each, kept from workers")
    command: tuple[str, ...] = Field(
        default=("vllm", "serve", "{model}", "--host", "{host}", "--port", "{port}"),
        min_length=1,
        description="program and arguments, in whatever environment it needs; an argument that is $NAME, or "
        "a path that begins so, comes from the run's own",
    )
    args: tuple[str, ...] = Field(default=(), description="further arguments")
    environment: dict[str, str] = Field(default={}, description="added to the node's; no keys in here")
    start_s: float = Field(default=900, gt=0, description="how long one may take to be healthy")

    def missing(self) -> list[str]:
        """Which variable of its command is not set."""
        try:
            self._expanded()
        except ListingError as error:
            return [str(error)]
        return []

    def _expanded(self) -> list[str]:
        return [expand(part) if PLACE.fullmatch(part) else part for part in self.command]

    def spec(self, name: str, model: str) -> ServerSpec:
        """The server for a model; {host} and {port} are known where it runs.

        Raises:
            ListingError: a variable of its command is not set.
        """
        return ServerSpec(
            name=name,
            command=[*(part.replace("{model}", model) for part in self._expanded()), *self.args],
            environment=self.environment,
            replicas=self.replicas,
            cpus=self.cpus,
            gpus=self.gpus,
            start_s=self.start_s,
        )


def asked_servers(settings: Settings) -> Iterator[tuple[str, ServedSettings]]:
    """The models of a step that a server of the recipe's `resources` is to serve, by setting."""
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        asked: str = getattr(value, "server", "") if isinstance(value, Settings) else ""
        if asked:
            yield field, cast("ServedSettings", value)


def missing_for(recipe: Recipe, step: Step) -> Iterator[str]:
    """What must be there before a step is made, and is not: its sources, what its servers' commands name."""
    yield from step.settings.missing()
    for name in dict.fromkeys(served.server for _, served in asked_servers(step.settings)):
        yield from (f"resources.{name}: {what}" for what in recipe.resources[name].missing())


def check_endpoints(steps: Iterable[Step]) -> None:
    """Look at the endpoints that steps are said to have: a wrong one would be told hours later, when asked.

    Raises:
        EndpointError: one serves another model, or does not let us in; one that is silent may come later.
    """
    from shards.served_model import look_at
    from shards.served_settings import ServedSettings

    models = {
        step.name: [getattr(step.settings, field) for field in type(step.settings).model_fields]
        for step in steps
    }
    look_at(
        (f"steps.{name}", value)
        for name, values in models.items()
        for value in values
        if isinstance(value, ServedSettings) and not value.server
    )


def expect_endpoints(step: Step) -> None:
    """Refuse to ask a model whose server only a run starts.

    Raises:
        RecipeError: with the settings that name a server that exists.
    """
    from recipes.schema import RecipeError

    for field, served in asked_servers(step.settings):
        where = f"{step.name}.{field}"
        got = f"expected endpoints that exist, got {served.server!r}, which a run alone starts"
        way_out = f"""start a server and give --set {where}.server="''" --set {where}.endpoints='[URL]'"""
        raise RecipeError([f"{where}.server: {got}; {way_out}"])


class Servers:
    """The servers of one run."""

    def __init__(self, recipe: Recipe, out: Storage) -> None:
        self._recipe = recipe
        self._folder = out.child(FOLDER)
        self._running: dict[str, RayServers] = {}

    @property
    def are_up(self) -> bool:
        """Whether any was started."""
        return bool(self._running)

    def settled(self, settings: WorkerStep) -> WorkerStep:
        """A step's settings with the addresses of the servers it asks for; none of those that do not run."""
        found = {}
        for field, served in asked_servers(settings):
            is_up = served.server in self._running
            urls = tuple(published_urls(self._folder, served.server)) if is_up else ()
            # One that dies is started again, and needs as long as at first.
            outage_s = max(served.outage_s, self._recipe.resources[served.server].start_s)
            changes = {"endpoints": urls, "endpoints_at": self._folder.uri, "outage_s": outage_s}
            found[field] = served.model_copy(update=changes)
        return settings.model_copy(update=found)

    def start(self, name: str, step: Step) -> None:
        """Start one of the servers that a step asks for, unless it runs.

        Raises:
            EngineError: the cluster has no room for it, or it does not start.
        """
        from shards.ray_executor import RayServers

        if name in self._running:
            return
        if not self._running:
            self._folder.delete("")  # of a run that was killed: others may have taken its servers' ports
        model = next(served.model for _, served in asked_servers(step.settings) if served.server == name)
        spec, run = self._recipe.resources[name].spec(name, model), step.run
        cores = (run.workers or os.cpu_count() or 1) * run.cpus_per_worker
        self._running[name] = RayServers(spec, self._folder, address=run.ray_address, cpus=cores)

    def check_room(self, step: Step) -> None:
        """Whether the cluster has the GPUs of the servers that a step asks for; starts none of them.

        Raises:
            EngineError: naming what is needed and what there is.
        """
        for _, served in asked_servers(step.settings):
            spec = self._recipe.resources[served.server].spec(served.server, served.model)
            if spec.gpus:
                from shards.ray_executor import check_gpus

                check_gpus(spec, step.run.ray_address)

    def close(self) -> None:
        """End all servers."""
        for servers in self._running.values():
            servers.close()
        self._folder.delete("")
        self._running = {}
