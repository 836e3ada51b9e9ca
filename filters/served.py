"""The judge behind HTTP: many samples at once, each at one endpoint, its first question before the others."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from filters.admission import Admission, probe_address
from filters.chat import CONTEXT, question_body, read_probabilities, read_text, written_body
from filters.judge import Answer, Asked, Request, reply_bytes
from filters.rationale import MAX_TOKENS, is_written, schema
from filters.rubrics import Question
from shards.chat import PATH, count_tokens, image_part
from shards.endpoints import Endpoint, EndpointPool, Session
from shards.http_client import RequestError
from shards.image import ImageError
from shards.ledger import Ledger
from shards.loop_thread import LoopThread
from shards.sample import Json, Sample
from shards.served_settings import ServedSettings
from shards.settings import RUN
from shards.sizing import VERSION as SIZING
from shards.sizing import size_image

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
        default={},
        description="of the model's image processor, sent along; vLLM wants --trust-request-mm-kwargs",
    )
    in_flight: Annotated[int, Field(**RUN)] = Field(
        default=32, ge=1, le=1024, description="requests at once at each endpoint, for each worker"
    )
    samples_at_once: Annotated[int, Field(**RUN)] = Field(
        default=256, ge=1, le=4096, description="samples a worker reads at once"
    )

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its answers depend on, as declared."""
        return {"engine": "served", "version": self.VERSION, "sizing": SIZING, **self.computed()}

    def build(self, questions: Sequence[Question], ledger: Ledger) -> ServedEngine:
        """The engine on its worker; it speaks to no one before it is asked something."""
        known = ledger.get(probe_address(self.identity))
        return ServedEngine(
            self,
            Admission(self.model, self.identity, questions, self.processor, known),
            is_probed=bool(known),
        )


@dataclass(eq=False)
class _Call:
    """What one caller waits for.

    Attributes:
        came: its answers as they come; at its end None, or what ended it.
        open: requests that are not answered.
    """

    came: SimpleQueue[Answer | BaseException | None]
    open: int
    is_over: bool = False

    def put(self, answer: Answer) -> None:
        self.came.put(answer)
        self.open -= 1
        if not self.open:
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        if not self.is_over:
            self.is_over = True
            self.came.put(error)


@dataclass(eq=False)
class _Job:
    """A sample that is to be asked about.

    Attributes:
        left: what is not asked yet.
        endpoint: where its images are in the cache, once it answered the first question.
        parts: the JSON of its images, by member name.
    """

    sample: Sample
    left: deque[tuple[bytes, Request]]
    call: _Call
    endpoint: Endpoint | None = None
    parts: Mapping[str, bytes] = field(default_factory=dict)


class ServedEngine:
    """Asks endpoints from a thread with an event loop, so that they are busy while replies are committed.

    Callers may be several: their samples stand in one queue, so that the second one's go out as soon as the
    first one's leave room, and no endpoint waits for a caller to come back.
    """

    def __init__(self, config: ServedEngineConfig, admission: Admission, *, is_probed: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._config = config
        self._admission = admission
        self._is_probed = is_probed
        self._pool: EndpointPool | None = None
        self._todo: deque[_Job] = deque()
        self._cached: deque[_Job] = deque()  # begun, and not asked to the end
        self._beginning = 0  # samples whose first question is asked
        self._calls: set[_Call] = set()
        self._askers: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self._sizing = ThreadPoolExecutor(SIZING_THREADS, "sizing")
        self._thread = LoopThread("served-judge")

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._thread.run(self._end())
        self._thread.close()
        self._sizing.shutdown()

    def answers(self, asked: Sequence[Asked]) -> Iterator[Answer]:
        """An answer to every request, as they come; from any thread.

        Raises:
            EndpointError: no more can be asked: all endpoints are down, or one is another judge.
        """
        call = _Call(SimpleQueue(), open=sum(len(requests) for _, requests in asked))
        if not call.open:
            return
        self._thread.run(self._queue(call, asked))
        try:
            while (answer := call.came.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            self._thread.run(self._forget(call))

    def check(self) -> None:
        """Look at the endpoints, and ask nothing.

        Raises:
            EndpointError: none answers, or one is another judge.
        """
        self._thread.run(self._look())

    def take_counts(self) -> dict[str, float]:
        """What was asked since the last call: requests, retries, tokens; replies that were none, by cause."""
        return self._thread.run(self._take_counts())

    # In the loop

    async def _end(self) -> None:
        self._is_ending = True
        for asker in self._askers:
            asker.cancel()
        await asyncio.gather(*self._askers, return_exceptions=True)
        if self._pool:
            await self._pool.close()

    async def _take_counts(self) -> dict[str, float]:
        counted: dict[str, float] = {name: count for name, count in self.counts.items() if count}
        self.counts.clear()
        return counted

    def _opened(self) -> EndpointPool:
        config = self._config
        if self._pool is None:
            self._pool = EndpointPool(
                config.endpoints, config.pool_settings(), self._admission, config.find_endpoints, self.counts
            )
        return self._pool

    async def _look(self) -> None:
        async with self._opened().session():
            pass

    async def _queue(self, call: _Call, asked: Sequence[Asked]) -> None:
        pool = self._opened()
        self._calls.add(call)
        self._todo.extend(_Job(sample, deque(requests.items()), call) for sample, requests in asked)
        self._add_askers(pool)

    async def _forget(self, call: _Call) -> None:
        """A caller that has all its answers, or wants no more."""
        self._calls.discard(call)
        call.is_over = True
        self._todo = deque(job for job in self._todo if job.call is not call)
        self._cached = deque(job for job in self._cached if job.call is not call)

    def _add_askers(self, pool: EndpointPool) -> None:
        """As many as there is room at the endpoints that are known by now, and some whose images are made
        ready meanwhile; no more than there is to ask."""
        room = self._places(pool) + AHEAD - len(self._askers)
        if room <= 0:
            return
        waiting = len(self._todo) + sum(len(job.left) for job in self._cached)
        for _ in range(min(room, waiting)):
            asker = asyncio.create_task(self._ask_on(pool))
            self._askers.add(asker)
            asker.add_done_callback(self._ended)

    def _places(self, pool: EndpointPool) -> int:
        return self._config.in_flight * pool.size

    def _ended(self, asker: asyncio.Task[None]) -> None:
        self._askers.discard(asker)
        error = None if asker.cancelled() else asker.exception()
        if error is not None:
            self._give_up(error)
        elif self._pool and not self._is_ending:
            self._add_askers(self._pool)  # for what came after it had looked for the last time

    def _give_up(self, error: BaseException) -> None:
        """End every call: what one asker met, all would meet."""
        for call in self._calls:
            call.end(error)
        self._calls.clear()
        self._todo.clear()
        self._cached.clear()
        for other in self._askers:
            other.cancel()

    async def _ask_on(self, pool: EndpointPool) -> None:
        while self._todo or self._cached:
            if self._is_to_begin(pool):
                await self._begin(pool, self._todo.popleft())
            else:
                await self._go_on(pool, self._cached[0])
            self._add_askers(pool)

    def _is_to_begin(self, pool: EndpointPool) -> bool:
        """Whether a sample is begun rather than one that was begun asked on.

        Its first question has a server read its images, the others find them. So that a server does both at
        any time, and not now the one and now the other with all that is in flight, no more samples are begun
        than their share of the questions, while there are others to ask.
        """
        if not self._todo or not self._cached:
            return bool(self._todo)
        places = self._places(pool)
        return len(self._cached) < places and self._beginning * len(self._todo[0].left) < places

    async def _begin(self, pool: EndpointPool, job: _Job) -> None:
        self._beginning += 1
        try:
            job.parts = await self._parts(job.sample)
            async with pool.session() as session:
                self._note_probe(job.call)
                job.call.put(await self._ask(session, *job.left.popleft(), job.parts))
                job.endpoint = session.endpoint
        except ImageError as error:
            for address, _ in job.left:
                job.call.put(self._failed(address, RequestError(error.reason, str(error))))
            job.left.clear()
        finally:
            self._beginning -= 1
        if job.left and not job.call.is_over:
            self._cached.append(job)

    async def _go_on(self, pool: EndpointPool, job: _Job) -> None:
        address, request = job.left.popleft()
        if not job.left:
            self._cached.remove(job)
        async with pool.session(job.endpoint) as session:
            job.call.put(await self._ask(session, address, request, job.parts))

    async def _parts(self, sample: Sample) -> dict[str, bytes]:
        """The JSON of each image, made once a sample."""

        def make() -> dict[str, bytes]:
            return {
                name: image_part(size_image(image, self._config.max_pixels), self._config.processor)
                for name, image in sample.images.items()
            }

        return await asyncio.get_running_loop().run_in_executor(self._sizing, make)

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

    def _note_probe(self, call: _Call) -> None:
        """Have the probe's answer kept, the first time there is one."""
        if not self._is_probed and self._admission.probe is not None:
            self._is_probed = True
            call.came.put(Answer(address=self._admission.address, reply=self._admission.probe, is_paid=True))
