"""Whether an endpoint serves the model that a recipe declares: asked before a run, and before it works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
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


def look_at(models: Iterable[ServedSettings]) -> None:
    """Look once at the endpoints that models are said to have; silent ones may come later.

    Raises:
        WrongModelError: one serves another model.
        EndpointError: one does not let us in.
    """
    asyncio.run(_look_at(list(models)))


async def _look_at(models: Iterable[ServedSettings]) -> None:
    for model in models:
        client = JsonClient(LOOK_S, model.api_key_env)
        try:
            await asyncio.gather(*(_look(client, url, model.model) for url in model.endpoints))
        finally:
            await client.close()


async def _look(client: JsonClient, url: str, model: str) -> None:
    with suppress(RequestError):
        await check_model(url, partial(client.ask, url), model)
