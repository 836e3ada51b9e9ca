"""A pool of endpoints that come and go: who waits for what, and what is told to whom."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shards.endpoints import EndpointPool, PoolSettings
from shards.http_client import EndpointError, EndpointsDownError, RequestError, ServerWantedError


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("shards.endpoints.LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr("shards.endpoints._backoff_s", lambda state: 0.01)


QUICK = PoolSettings(in_flight=2, timeout_s=5, attempts=8, outage_s=1)


class Server:
    """A server in the test's own loop, whose answers can be changed while it runs."""

    def __init__(self):
        self.health = self.answer = 200
        self.asked = self.looks = 0
        self.is_silent = False
        self.headers = {}
        self.url = ""

    async def _health(self, request):
        self.looks += 1
        if self.is_silent:
            await asyncio.sleep(3600)
        return web.Response(status=self.health)

    async def _ask(self, request):
        self.asked += 1
        return web.json_response({"by": self.url}, status=self.answer, headers=self.headers)

    @asynccontextmanager
    async def running(self):
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/ask", self._ask)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        try:
            yield self
        finally:
            await runner.cleanup()


async def ask(pool):
    async with pool.session() as session:
        return (await session.post("/ask", b"{}"))["by"]


def in_loop(test, servers=1, settings=QUICK, **given):
    """Run `test(pool, *servers)` with so many servers."""

    async def run():
        async with Server().running() as first, Server().running() as second:
            running = [first, second][:servers]
            pool = EndpointPool([server.url for server in running], settings, **given)
            try:
                await test(pool, *running)
            finally:
                await pool.close()

    asyncio.run(run())


def test_an_endpoint_that_was_good_and_then_answers_oddly_is_set_aside_and_comes_back():
    """As one does behind a proxy, whose own answers come while it is started again."""

    async def test(pool, first, second):
        assert {await ask(pool) for _ in range(2)}
        first.health, first.answer = 404, 500
        assert {await ask(pool) for _ in range(8)} == {second.url}
        looks = first.looks
        while first.looks < looks + 2:
            await asyncio.gather(ask(pool), asyncio.sleep(0.05))
        first.health = first.answer = 200
        while first.url not in await asyncio.gather(ask(pool), ask(pool), ask(pool)):
            await asyncio.sleep(0.05)

    in_loop(test, servers=2)


def test_who_asks_does_not_wait_until_a_silent_endpoint_is_given_up():
    async def test(pool, first, second):
        await asyncio.gather(ask(pool), ask(pool), ask(pool))
        first.is_silent, first.answer = True, 500
        while not (pool._endpoints[0].look and not pool._endpoints[0].look.done()):
            await asyncio.gather(ask(pool), asyncio.sleep(0.02))
        for _ in range(50):
            assert await ask(pool) == second.url
        assert pool._endpoints[0].look, "the look ended before those who asked"

    in_loop(test, servers=2, settings=PoolSettings(timeout_s=60, attempts=8))


def test_all_who_wait_for_a_look_are_told_what_it_met():
    async def wrong(url, ask):
        await asyncio.sleep(0.1)
        raise EndpointError(f"{url}: expected another model")

    async def test(pool, _):
        told = await asyncio.gather(*(ask(pool) for _ in range(5)), return_exceptions=True)
        assert {str(error) for error in told} == {f"{pool._endpoints[0].url}: expected another model"}

    in_loop(test, admit=wrong, settings=PoolSettings(outage_s=600))


def test_after_a_quiet_outage_who_asks_first_has_the_endpoints_looked_at():
    async def test(pool, server):
        await ask(pool)
        server.health = server.answer = 500
        with pytest.raises((EndpointsDownError, RequestError)):
            await ask(pool)
        await asyncio.sleep(1.5)  # longer than outage_s; nobody asks
        server.health = server.answer = 200
        assert await ask(pool) == server.url

    in_loop(test)


def test_one_that_is_slow_to_be_admitted_is_no_outage():
    async def slowly(url, ask):
        await asyncio.sleep(1)

    async def test(pool, server):
        assert await asyncio.gather(ask(pool), ask(pool)) == [server.url] * 2

    in_loop(test, admit=slowly, settings=PoolSettings(outage_s=0.2))


def test_where_addresses_cannot_be_read_those_that_are_known_are_asked(monkeypatch):
    monkeypatch.setattr("shards.endpoints.FIND_EVERY_S", 0.02)
    found = [OSError("gone"), ValueError("half written")]

    def find():
        raise found.pop() if found else OSError("out of reach")

    async def test(pool, server):
        while found:
            assert await ask(pool) == server.url
            await asyncio.sleep(0.01)

    in_loop(test, find=find)


def test_an_address_that_is_published_no_more_is_not_looked_at_again(monkeypatch):
    """Another server may have taken its port."""
    monkeypatch.setattr("shards.endpoints.FIND_EVERY_S", 0.02)
    published = []

    async def test(pool, first, second):
        published[:] = [first.url, second.url]
        await asyncio.gather(ask(pool), ask(pool))
        first.health, first.answer = 503, 500
        published[:] = [second.url]
        end = time.monotonic() + 30
        while len(pool._endpoints) > 1:
            await asyncio.gather(ask(pool), asyncio.sleep(0.02))
            assert time.monotonic() < end
        assert pool._endpoints[0].url == second.url

    in_loop(test, servers=2, find=lambda: list(published))


def test_a_server_that_is_not_started_is_asked_for_by_name():
    async def test(pool):
        with pytest.raises(ServerWantedError, match="judge: expected a running server") as caught:
            await ask(pool)
        assert caught.value.server == "judge"

    in_loop(test, servers=0, settings=PoolSettings(server="judge"))


def test_a_busy_server_is_waited_for_beyond_the_attempts_and_then_given_up():
    async def test(pool, server):
        server.answer = 429
        asking = asyncio.create_task(ask(pool))
        while server.asked < 2 * QUICK.attempts:
            await asyncio.sleep(0.01)
        server.answer = 200
        assert await asking == server.url
        server.answer = 429
        with pytest.raises(RequestError, match="HTTP 429"):
            await ask(pool)

    in_loop(test)


def test_a_server_that_asks_for_no_wait_is_not_asked_at_once(monkeypatch):
    waits = []
    monkeypatch.setattr("shards.endpoints._backoff_s", lambda state: waits.append(state) or 0.05)

    async def test(pool, server):
        server.answer, server.headers = 429, {"Retry-After": "0"}
        with pytest.raises(RequestError, match="HTTP 429"):
            await ask(pool)
        assert server.asked <= 1 + len(waits)
        assert len(waits) < 30

    in_loop(test)
