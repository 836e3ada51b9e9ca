"""Whether an endpoint serves the model that a recipe declares: asked before a run, and before it works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from shards.endpoints import Ask
from shards.http_client import EndpointError, JsonClient, RequestError
from shards.served_settings import ServedSettings

LOOK_S = 5.0  # for an answer, before a run begins; a server that is silent may be starting


class WrongModelError(EndpointError):
    """An endpoint serves another model than the one that is declared."""


async def check_model(url: str, ask: Ask, model: str) -> None:
    """Whether the endpoint is healthy and serves the model.

    Raises:
        RequestError: it is not ready.
        WrongModelError: it serves another one.
    """
    await ask("/health")
    answer = await ask("/v1/models")
    try:
        served = [str(entry["id"]) for entry in answer["data"]]
    except (KeyError, TypeError) as error:
        raise RequestError("no_models", f"/v1/models: expected a list, got {answer!r:.200}") from error
    if model not in served:
        raise WrongModelError(
            f"{url}: expected a server of {model!r}, got one of {', '.join(served)}; set its `model` to the "
            "name it serves, or start it with --served-model-name"
        )


def look_at(models: Iterable[tuple[str, ServedSettings]]) -> None:
    """Look at the endpoints that models are said to have, at each once, all beside each other; silent ones
    may come later.

    Args:
        models: each with the place that names it, for messages.

    Raises:
        WrongModelError: one serves another model.
        EndpointError: one does not let us in.
    """
    looks: dict[_Look, str] = {}
    for where, model in models:
        for url in model.endpoints:
            looks.setdefault(_Look(url, model.model, model.api_key_env), where)
    asyncio.run(_look_at(looks))


@dataclass(frozen=True)
class _Look:
    """What an endpoint is looked at for."""

    url: str
    model: str
    api_key_env: str

    async def __call__(self, where: str) -> None:
        try:
            await self._ask()
        except EndpointError as error:
            error.add_note(f"in {where}, looked at before the first step")
            raise

    async def _ask(self) -> None:
        client = JsonClient(LOOK_S, self.api_key_env)
        try:
            with suppress(RequestError):
                await check_model(self.url, partial(client.ask, self.url), self.model)
        finally:
            await client.close()


async def _look_at(looks: Mapping[_Look, str]) -> None:
    await asyncio.gather(*(look(where) for look, where in looks.items()))
