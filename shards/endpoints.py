"""Endpoints: servers that answer the same requests; which is up, which has room, what to ask again."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_exponential_jitter

from shards.http_client import (
    Body,
    EndpointError,
    EndpointsDownError,
    JsonClient,
    OutageError,
    RequestError,
    ServerWantedError,
    TransientError,
)

FAILURES_TO_SET_ASIDE = 3  # one lost connection or slow answer is no outage
FIND_EVERY_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How a pool speaks to its endpoints.

    Attributes:
        in_flight: requests at once at each endpoint.
        timeout_s: of one request, the wait for its answer included.
        attempts: at one request before it is given up; those that found a server busy do not count.
        outage_s: how long to wait while no endpoint answers, and for a busy one.
        api_key_env: environment variable that holds the key to send; "" for none.
        server: started by the run once it is wanted; without URLs, asking it raises `ServerWantedError`.
    """

    in_flight: int = 32
    timeout_s: float = 120.0
    attempts: int = 6
    outage_s: float = 120.0
    api_key_env: str = ""
    server: str = ""


@dataclass(eq=False)
class Endpoint:
    """One server, and how it does.

    Attributes:
        url: without a path, e.g. "http://127.0.0.1:8000".
        busy: requests in flight.
        is_admitted: whether it may be asked.
        is_known: whether it was admitted before.
        failures: in a row.
        pause_s: how long it is set aside the next time.
        due: when it is looked at again, by the loop's clock.
        failed_at: when it last was set aside, by the same clock.
        last_error: for people.
        look: that decides whether it is admitted, while it goes on.
    """

    url: str
    busy: int = 0
    is_admitted: bool = False
    is_known: bool = False
    failures: int = 0
    pause_s: float = FIRST_PAUSE_S
    due: float = 0.0
    failed_at: float = -math.inf
    last_error: str = "not asked yet"
    look: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def is_due(self) -> bool:
        """Whether it is to be looked at now."""
        return not self.is_admitted and self.look is None and self.due <= time.monotonic()


class Ask(Protocol):
    """Asks one endpoint one thing: path, body (None to get), and returns its JSON."""

    def __call__(self, path: str, body: Body | None = None) -> Awaitable[Any]: ...


Admit: TypeAlias = Callable[[str, Ask], Awaitable[None]]


async def admit_healthy(url: str, ask: Ask) -> None:  # noqa: ARG001, as `Admit` has it
    """Admit any endpoint that answers `/health`."""
    await ask("/health")


class EndpointPool:
    """Some endpoints over one connection pool; lives in one event loop.

    An endpoint is admitted before it is asked for the first time, and again after it was set aside: a
    server that comes back may be another one.

    Args:
        urls: of the endpoints, without a path.
        settings: how to speak to them.
        admit: raises `OutageError` while an endpoint is not ready, and `EndpointError` if it must not be
            used: that ends the step, and so does any other `RequestError` of one that was never admitted.
        find: further URLs, looked for every few seconds.
        counts: where requests and retries are counted; of its own unless given.
    """

    def __init__(
        self,
        urls: Sequence[str],
        settings: PoolSettings,
        admit: Admit = admit_healthy,
        find: Callable[[], Sequence[str]] = tuple,
        counts: Counter[str] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._settings = settings
        self._admit = admit
        self._find = find
        self._found_at = -math.inf
        self._finding: asyncio.Task[None] | None = None
        self._endpoints = [Endpoint(url.rstrip("/")) for url in dict.fromkeys(urls)]
        self._client = JsonClient(settings.timeout_s, settings.api_key_env)
        self._changed = asyncio.Condition()
        self._down_since: float | None = time.monotonic()
        self._refused: Exception | None = None  # who asks is told
        if settings.server and not urls:
            self._refused = ServerWantedError(settings.server)

    @property
    def size(self) -> int:
        """Endpoints that are known by now; at least one, as others may come."""
        return max(len(self._endpoints), 1)

    async def close(self) -> None:
        """Close all connections."""
        tasks = [task for task in (self._finding, *(e.look for e in self._endpoints)) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    @asynccontextmanager
    async def session(self, at: Endpoint | None = None) -> AsyncIterator[Session]:
        """A place where there is most room, or at one endpoint while that is admitted; kept until its end.

        Requests made in it go to that endpoint one after the other, so that it finds in its cache what they
        share; to another one if it is set aside.

        Args:
            at: the endpoint to wait for, though others have room.

        Raises:
            EndpointsDownError: no endpoint has answered for `outage_s`.
            ServerWantedError: the run is to start its server.
            EndpointError: an endpoint is none of those that were declared.
        """
        session = Session(self, await self._take(at))
        try:
            yield session
        finally:
            await self._release(session.endpoint)

    # Places

    async def _take(self, at: Endpoint | None = None) -> Endpoint:
        began = time.monotonic()
        while True:
            await self._readmit()
            async with self._changed:
                if self._refused:
                    raise self._refused
                wanted = [at] if at and at.is_admitted else self._endpoints
                free = [e for e in wanted if e.is_admitted and e.busy < self._settings.in_flight]
                if free:
                    endpoint = min(free, key=lambda e: e.busy)
                    endpoint.busy += 1
                    return endpoint
                await self._wait_for_change(self._check_outage(began))

    async def _wait_for_change(self, longest_s: float) -> None:
        """Until a place came free, or a set-aside endpoint is due; with `_changed` held."""
        now = time.monotonic()
        due = [e.due - now for e in self._endpoints if not e.is_admitted and e.look is None]
        wait_s = max(min([longest_s, *due]), 0.02)
        # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with a notification.
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s if wait_s < math.inf else None):
                await self._changed.wait()

    async def _release(self, endpoint: Endpoint) -> None:
        async with self._changed:
            endpoint.busy -= 1
            self._changed.notify_all()  # who waits may wait for another endpoint's place

    async def move(self, endpoint: Endpoint) -> Endpoint:
        """A place at another endpoint for one at `endpoint`."""
        await self._release(endpoint)
        try:
            return await self._take()
        except BaseException:
            endpoint.busy += 1  # the session gives back what it holds
            raise

    # Endpoints that come and go

    async def _readmit(self) -> None:
        """Have endpoints looked at that are due. Who finds new ones waits for what they are, no one else."""
        self._find_more()
        due = [endpoint for endpoint in self._endpoints if endpoint.is_due]
        for endpoint in due:
            endpoint.look = asyncio.create_task(self._look_at(endpoint))
            endpoint.look.add_done_callback(_retrieve)
        new = [endpoint.look for endpoint in due if endpoint.look and endpoint.failed_at == -math.inf]
        if new:
            await asyncio.wait(new, return_when=asyncio.FIRST_EXCEPTION)

    def _find_more(self) -> None:
        if self._finding is None and time.monotonic() - self._found_at >= FIND_EVERY_S:
            self._finding = asyncio.create_task(self._take_in())

    async def _take_in(self) -> None:
        """The endpoints that came; those that went are no more looked at, as others may take their ports."""
        try:
            urls = set(await asyncio.to_thread(self._find))
        except (OSError, ValueError):
            return  # an address is being written, or out of reach: in a few seconds they are read again
        finally:
            self._found_at, self._finding = time.monotonic(), None
        if not urls:
            return
        kept = [e for e in self._endpoints if e.url in urls or e.is_admitted or e.look]
        known = {endpoint.url for endpoint in kept}
        self._endpoints = kept + [Endpoint(url) for url in sorted(urls - known)]
        async with self._changed:
            self._changed.notify_all()

    async def _look_at(self, endpoint: Endpoint) -> None:
        try:
            await self._admit_or_set_aside(endpoint)
        except Exception as error:  # who asks next is told
            self._refused, endpoint.due = error, math.inf
            raise
        finally:
            endpoint.look = None
            async with self._changed:
                self._changed.notify_all()

    async def _admit_or_set_aside(self, endpoint: Endpoint) -> None:
        try:
            await self._admit(endpoint.url, partial(self._client.ask, endpoint.url))
        except RequestError as error:
            if not (endpoint.is_known or isinstance(error, OutageError)):
                raise EndpointError(
                    f"{endpoint.url}: expected the server that is declared, got {error.reason}: {error}; an "
                    "answer like this is not waited for: correct the address, or serve the model there"
                ) from error
            self._set_aside(endpoint, str(error))
        else:
            endpoint.is_admitted, endpoint.is_known, endpoint.failures = True, True, 0
            self._down_since = None

    def _set_aside(self, endpoint: Endpoint, why: str) -> None:
        now = time.monotonic()
        endpoint.is_admitted, endpoint.last_error = False, why
        endpoint.failed_at, endpoint.due = now, now + endpoint.pause_s
        endpoint.pause_s = min(endpoint.pause_s * 2, LONGEST_PAUSE_S)
        if self._down_since is None and not any(e.is_admitted for e in self._endpoints):
            self._down_since = now

    def _check_outage(self, began: float) -> float:
        """How long who began to wait then may wait on, in seconds.

        Raises:
            EndpointsDownError: `outage_s` are over, and since they began each endpoint was looked at in vain.
        """
        if self._down_since is None:
            return math.inf
        since = max(began, self._down_since)
        left_s = since + self._settings.outage_s - time.monotonic()
        if left_s > 0:
            return left_s
        if any(endpoint.failed_at < since for endpoint in self._endpoints):
            return math.inf  # it is being looked at, or due
        each = "; ".join(f"{e.url}: {e.last_error}" for e in self._endpoints)
        raise EndpointsDownError(
            f"endpoints: expected one of {len(self._endpoints)} to answer within "
            f"{self._settings.outage_s:g} s, got none: {each}; start a server and run again: what was "
            "committed is kept"
        )

    # Requests

    async def post(self, session: Session, path: str, body: Body) -> Any:  # noqa: ANN401, what a server says
        """The JSON that answers `body`; asked again as often as `attempts` allows, or a busy server asks."""
        retrying = AsyncRetrying(
            stop=_Patience(self._settings),
            wait=_wait_s,
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                self.counts["retries"] += attempt.retry_state.attempt_number > 1
                return await self._try(session, path, body)
        raise AssertionError("tenacity returns or raises")

    async def _try(self, session: Session, path: str, body: Body) -> Any:  # noqa: ANN401
        if not session.endpoint.is_admitted:
            session.endpoint = await self.move(session.endpoint)
        endpoint = session.endpoint
        self.counts["requests"] += 1
        try:
            answer = await self._client.ask(endpoint.url, path, body)
        except TransientError as error:
            self._blame(endpoint, error)
            raise
        endpoint.failures, endpoint.pause_s = 0, FIRST_PAUSE_S
        return answer

    def _blame(self, endpoint: Endpoint, error: TransientError) -> None:
        endpoint.failures += error.blames_endpoint
        if endpoint.failures >= FAILURES_TO_SET_ASIDE and endpoint.is_admitted:
            self._set_aside(endpoint, str(error))


@dataclass(eq=False)
class Session:
    """A place at one endpoint."""

    pool: EndpointPool
    endpoint: Endpoint

    async def post(self, path: str, body: Body) -> Any:  # noqa: ANN401, what a server says
        """The JSON that answers `body`.

        Raises:
            RequestError: this request was given up or refused.
            EndpointError: no request can be answered: all endpoints are down, or one refuses the key.
        """
        return await self.pool.post(self, path, body)


def _retrieve(look: asyncio.Task[None]) -> None:
    """A look's error is told to who asks; the loop is not to tell it, too."""
    if not look.cancelled():
        look.exception()


_backoff_s = wait_exponential_jitter(multiplier=0.5, max=20, jitter=0.5)


def _wait_s(state: RetryCallState) -> float:
    """As long as the server asks, and no less than without its asking: it may ask for "0"."""
    error = _error_of(state)
    asked_s = error.retry_after_s if error else None
    return max(_backoff_s(state), asked_s or 0.0)


def _error_of(state: RetryCallState) -> TransientError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, TransientError) else None


class _Patience(stop_base):
    """When one request is given up: after so many failures, or when its server was busy for `outage_s`."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._failures = 0

    def __call__(self, state: RetryCallState) -> bool:
        error = _error_of(state)
        if error is None or error.blames_endpoint:
            self._failures += 1
            return self._failures >= self._settings.attempts
        is_late = (state.seconds_since_start or 0.0) >= self._settings.outage_s
        return is_late and state.attempt_number >= self._settings.attempts
