"""The judge behind HTTP: many samples in flight, each at one endpoint, its questions one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from filters.admission import Admission, probe_address
from filters.chat import CONTEXT, question_body, read_probabilities, read_text, written_body
from filters.judge import Answer, Asked, Request, reply_bytes
from filters.rationale import MAX_TOKENS, is_written, schema
from filters.rubrics import Question
from filters.sizing import VERSION as SIZING
from filters.sizing import size_image
from shards.chat import PATH, count_tokens, image_part
from shards.endpoints import Endpoint, EndpointPool, Session
from shards.http_client import RequestError
from shards.image import ImageError
from shards.ledger import Ledger
from shards.sample import Json, Sample
from shards.served_settings import ServedSettings
from shards.settings import RUN

AHEAD = 4  # samples whose images are made ready while all places are taken
SIZING_THREADS = 2


class ServedEngineConfig(ServedSettings):
    """A judge behind an HTTP API as vLLM has it. What is declared of the model is trusted, and probed."""

    VERSION: ClassVar[int] = 1

    kind: Literal["served"] = "served"
    dtype: str = Field(default="bfloat16", description="that the server was started with")
    quantization: str = Field(default="none", description="that the server was started with")
    max_pixels: int = Field(default=1 << 20, ge=1024, description="larger images are made smaller")
    processor: dict[str, int | float | str | bool] = Field(
        default={}, description="settings of the model's image processor, sent along"
    )
    in_flight: Annotated[int, Field(**RUN)] = Field(
        default=32, ge=1, le=1024, description="samples at once at each endpoint, for each worker"
    )
    samples_at_once: Annotated[int, Field(**RUN)] = Field(
        default=256, ge=1, le=4096, description="samples a worker reads at once"
    )

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its answers depend on, as declared."""
        return {"engine": "served", "version": self.VERSION, "sizing": SIZING, **self.computed()}

    def probe_at(self, questions: Sequence[Question]) -> bytes:
        """Where a ledger keeps the answer to the probe that goes before these questions."""
        labels = list(dict.fromkeys(label for question in questions for label in question.labels))
        return probe_address(self.identity, labels)

    def build(self, questions: Sequence[Question], ledger: Ledger) -> ServedEngine:
        """The engine on its worker; it speaks to no one before it is asked something."""
        known = ledger.get(self.probe_at(questions))
        return ServedEngine(
            self,
            Admission(self.model, self.identity, questions, self.processor, known),
            is_probed=bool(known),
        )


Put = Callable[[Answer | None], None]


@dataclass(eq=False)
class _InWork:
    """A sample that is being asked about.

    Attributes:
        parts: the JSON of its images, by member name.
        left: what is not asked yet.
        endpoint: where its images are in the cache.
        is_cached: whether they are.
    """

    parts: Mapping[str, bytes]
    left: deque[tuple[bytes, Request]]
    endpoint: Endpoint | None = None
    is_cached: asyncio.Event = field(default_factory=asyncio.Event)


class ServedEngine:
    """Asks endpoints from a thread with an event loop, so that they are busy while replies are committed."""

    def __init__(self, config: ServedEngineConfig, admission: Admission, *, is_probed: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._config = config
        self._admission = admission
        self._is_probed = is_probed
        self._pool: EndpointPool | None = None
        self._sizing = ThreadPoolExecutor(SIZING_THREADS, "sizing")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="served-judge")
        self._thread.start()

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._do(self._close_pool()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._sizing.shutdown()

    def answers(self, asked: Sequence[Asked]) -> Iterator[Answer]:
        """An answer to every request, as they come.

        Raises:
            EndpointError: no more can be asked: all endpoints are down, or one is another judge.
        """
        came: SimpleQueue[Answer | None] = SimpleQueue()
        asking = self._do(self._ask_all(asked, came.put))
        asking.add_done_callback(lambda _: came.put(None))
        try:
            while (answer := came.get()) is not None:
                yield answer
            asking.result()
        finally:
            asking.cancel()

    def take_counts(self) -> dict[str, float]:
        """What was asked since the last call: requests, retries, tokens; replies that were none, by cause."""
        counted = self.counts + (self._pool.counts if self._pool else Counter())
        self.counts.clear()
        if self._pool:
            self._pool.counts.clear()
        return dict(counted)

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> Any:  # noqa: ANN401, a concurrent.futures.Future
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _close_pool(self) -> None:
        if self._pool:
            await self._pool.close()

    async def _ask_all(self, asked: Sequence[Asked], put: Put) -> None:
        config = self._config
        if self._pool is None:
            self._pool = EndpointPool(
                config.endpoints, config.pool_settings(), self._admission, config.find_endpoints
            )
        todo, working = iter(asked), set[_InWork]()
        places = config.in_flight * len(config.endpoints) + AHEAD
        most = sum(len(requests) for _, requests in asked)
        consumers = [self._consume(self._pool, todo, working, put) for _ in range(min(places, most))]
        await _all(consumers)

    async def _consume(
        self, pool: EndpointPool, todo: Iterator[Asked], working: set[_InWork], put: Put
    ) -> None:
        for sample, requests in todo:
            try:
                parts = await self._parts(sample)
            except ImageError as error:
                for address in requests:
                    put(self._failed(address, RequestError(error.reason, str(error))))
                continue
            await self._ask_in_turn(pool, _InWork(parts, deque(requests.items())), working, put)
        await self._help(pool, working, put)

    async def _ask_in_turn(self, pool: EndpointPool, job: _InWork, working: set[_InWork], put: Put) -> None:
        """A sample's questions at one endpoint, one after the other."""
        working.add(job)
        async with pool.session() as session:
            self._note_probe(put)
            while job.left:
                put(await self._ask(session, *job.left.popleft(), job.parts))
                job.endpoint = session.endpoint
                job.is_cached.set()
        job.is_cached.set()
        working.discard(job)

    async def _help(self, pool: EndpointPool, working: set[_InWork], put: Put) -> None:
        """Where no sample is left, ask the further questions of those in work: so that the last samples do
        not leave most places idle. An endpoint has a sample's images in its cache once it answered the first.
        """
        while job := max(working, key=lambda job: len(job.left), default=None):
            if not job.left:
                return
            await job.is_cached.wait()
            async with pool.session(job.endpoint) as session:
                if job.left:
                    put(await self._ask(session, *job.left.popleft(), job.parts))

    async def _parts(self, sample: Sample) -> dict[str, bytes]:
        """The JSON of each image, made once a sample."""

        def make() -> dict[str, bytes]:
            return {
                name: image_part(size_image(image, self._config.max_pixels), self._config.processor)
                for name, image in sample.images.items()
            }

        return await self._loop.run_in_executor(self._sizing, make)

    async def _ask(
        self, session: Session, address: bytes, request: Request, parts: Mapping[str, bytes]
    ) -> Answer:
        if is_written(request):
            return await self._ask_in_words(session, address, request, parts)
        tokens = {label: self._admission.tokens[label] for label in request.labels}
        body = question_body(
            self._config.model,
            [parts[name] for name in request.images],
            request.text,
            list(tokens.values()),
            request_id=address.hex(),
            processor=self._config.processor,
        )
        try:
            answer = await session.post(PATH, body)
            self.counts.update(count_tokens(answer))
            probabilities = read_probabilities(answer, self._config.model, tokens)
        except RequestError as error:
            return self._failed(address, error)
        mass = min(sum(probabilities.values()), 1.0)
        return Answer(address=address, reply=reply_bytes(probabilities, mass), is_paid=True)

    async def _ask_in_words(
        self, session: Session, address: bytes, request: Request, parts: Mapping[str, bytes]
    ) -> Answer:
        body = written_body(
            self._config.model,
            [parts[name] for name in request.images],
            request.text,
            schema(request.labels),
            max_tokens=MAX_TOKENS,
            processor=self._config.processor,
        )
        try:
            answer = await session.post(PATH, body)
            self.counts.update(count_tokens(answer))
            return Answer(address=address, reply=read_text(answer).encode(), is_paid=True)
        except RequestError as error:
            return self._failed(address, error)

    def _failed(self, address: bytes, error: RequestError) -> Answer:
        """An answer that was none. It is not paid for and not kept, so `bakery retry` asks it again."""
        status = "truncated" if CONTEXT in str(error) else "error"
        self.counts[f"{status}: {error.reason}"] += 1
        return Answer(address=address, reply=reply_bytes({}, 0.0, status=status), is_paid=False)

    def _note_probe(self, put: Put) -> None:
        """Have the probe's answer kept, the first time there is one."""
        if not self._is_probed and self._admission.probe is not None:
            self._is_probed = True
            put(Answer(address=self._admission.address, reply=self._admission.probe, is_paid=True))


async def _all(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for all; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
