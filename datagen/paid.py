"""A served model whose replies are paid once: from the ledger, or asked and committed before use."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from shards.endpoints import Admit, EndpointPool
from shards.http_client import Body
from shards.ledger import Ledger, missing
from shards.loop_thread import LoopThread
from shards.reason import ReasonError
from shards.sample import Json
from shards.served_settings import ServedSettings
from shards.stage import keyed_random

T = TypeVar("T")


class PaidModel:
    """One model's endpoints and ledger; it speaks to no one before something is asked that was never paid.

    Args:
        settings: which endpoints, and how they are spoken to.
        ledger: where replies are.
        admit: looks at an endpoint before it is asked.
    """

    def __init__(self, settings: ServedSettings, ledger: Ledger, admit: Admit) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._ledger = ledger
        self._admit = admit
        self._thread = LoopThread("paid-model")
        self._pool: EndpointPool | None = None
        self._waiting: dict[bytes, bytes] = {}  # replies that came while others were written
        self._writing: asyncio.Task[None] | None = None
        self._asking: dict[bytes, asyncio.Event] = {}  # what is asked once, whoever else wants it meanwhile

    def close(self) -> None:
        """Close all connections."""
        if self._pool:
            self._thread.run(self._pool.close())
        self._thread.close()

    def take_counts(self) -> dict[str, float]:
        """Requests, retries and what else was counted since the last call."""
        return self._thread.run(self._take_counts())

    async def _take_counts(self) -> dict[str, float]:
        counted: dict[str, float] = {name: count for name, count in self.counts.items() if count}
        self.counts.clear()
        return counted

    def look_again(self, addresses: Sequence[bytes]) -> None:
        """Take in what others paid for, where a reply is not known: a worker that died may have."""
        if missing(self._ledger, addresses):
            self._ledger.refresh()

    def run(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """The results of all jobs, in order; the first that fails ends the others. From any thread.

        Whatever was answered by then is committed.
        """
        return self._thread.run(self._all(jobs))

    async def _all(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while self._waiting:
                await self._written()

    async def reply(
        self, address: bytes, path: str, body: Callable[[], Body], read: Callable[[Any], bytes]
    ) -> bytes:
        """The reply at an address of the ledger.

        Args:
            address: of the request.
            path: that is asked if it was never paid.
            body: that is posted there.
            read: an answer's reply, as it is kept.

        Raises:
            RequestError: this request was given up or refused.
            EndpointError: no more can be asked: all endpoints are down, or one is not admitted.
        """
        while address in self._asking:
            await self._asking[address].wait()
        if (kept := self._ledger.get(address)) is not None:
            return kept
        self._asking[address] = asyncio.Event()
        try:
            return await self._paid(address, path, body, read)
        finally:
            self._asking.pop(address).set()

    async def _paid(
        self, address: bytes, path: str, body: Callable[[], Body], read: Callable[[Any], bytes]
    ) -> bytes:
        if self._pool is None:
            self._pool = EndpointPool(
                self._settings.endpoints,
                self._settings.pool_settings(),
                self._admit,
                self._settings.find_endpoints,
                self.counts,
            )
        async with self._pool.session() as session:
            reply = read(await session.post(path, body()))
            # Its place is free once the reply is kept: a kill loses what `in_flight` says at the most.
            await self._keep(address, reply)
        return reply

    async def _keep(self, address: bytes, reply: bytes) -> None:
        """Commit a reply. What comes while the disk is at work is committed together after it."""
        self._waiting[address] = reply
        while address in self._waiting:
            await self._written()

    async def _written(self) -> None:
        """Until what is being written is on the disk."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await asyncio.shield(self._writing)

    async def _write(self) -> None:
        replies = dict(self._waiting)
        await asyncio.to_thread(self._ledger.commit, replies)
        for address in replies:
            del self._waiting[address]


@dataclass
class Refused:
    """What was paid for one request and is of no use, in the order in which it came."""

    tried: list[Json] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    said: str = ""

    def note(self, seed: int, error: ReasonError) -> None:
        """One more."""
        self.tried.append({"seed": seed, "reason": error.reason})
        self.reasons.append(error.reason)
        self.said = str(error)

    @property
    def words(self) -> str:
        """All of them, the last one in full.

        >>> refused = Refused()
        >>> refused.note(7, ReasonError("black", "expected a picture, got a black one"))
        >>> refused.note(8, ReasonError("wrong_size", "expected 96 pixels, got 48"))
        >>> refused.words
        '2 seeds, last wrong_size: expected 96 pixels, got 48; before it black'
        """
        before = ", ".join(self.reasons[:-1])
        last = f"{len(self.reasons)} seeds, last {self.reasons[-1]}: {self.said}"
        return f"{last}; before it {before}" if before else last


def seeds(first: int, tries: int) -> Iterator[int]:
    """The seeds that are tried for one request, its own first."""
    yield first
    for number in range(1, tries):
        yield keyed_random("seed", first, number).randrange(1 << 31)
