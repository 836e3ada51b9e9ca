"""The judge as a step: asks what the ledger does not hold, commits the replies, then derives rows."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from filters.controls import control_table, draw_rows, spoil, write_controls
from filters.embedded import EmbeddedEngineConfig
from filters.judge import MASS_FLOOR, Asked, Engine, InTurn, Request, make_requests, make_rows, request_bytes
from filters.rubrics import Question, pick_questions
from filters.served import ServedEngineConfig
from shards.index import Directory
from shards.ledger import Ledger, missing, request_hash
from shards.sample import Json, Sample
from shards.served_settings import slices_at_once
from shards.settings import RUN
from shards.stage import IndexRow, Planned, Scores, Stage, Work
from shards.storage import Storage
from shards.tables import questions, read_table
from shards.worker_step import WorkerStep

SAMPLES_AT_ONCE = 8
COMMIT_EVERY = 32  # replies: what a crash can cost, beside those in flight
WAIT_S = 0.05  # between two looks at what others are asking
ENOUGH_TO_TELL = 50  # samples with an unread reply before a step is stopped halfway


COSTS = ("requests", "retries", "prompt_tokens", "cached_tokens", "completion_tokens")


class JudgeError(RuntimeError):
    """More replies could not be read than the step tolerates."""


class JudgeConfig(WorkerStep):
    """Settings of `judge`."""

    VERSION: ClassVar[int] = 1

    questions: tuple[str, ...] = Field(min_length=1, description="ids of the rubric's questions")
    engine: Annotated[EmbeddedEngineConfig | ServedEngineConfig, Field(discriminator="kind")] = (
        EmbeddedEngineConfig()
    )
    mass_floor: float = Field(
        default=MASS_FLOOR, ge=0, le=1, description="label mass under which a reply is unreadable"
    )
    tolerate_unreadable: Annotated[float, Field(**RUN)] = Field(
        default=0.02, ge=0, le=1, description="share of samples that may have a reply that cannot be read"
    )

    controls: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="samples that are judged as a copy, with references swapped and with a blank target, too",
    )

    @field_validator("questions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        pick_questions(names)
        return names

    def computed(self) -> dict[str, Json]:
        """The settings, the wording of the questions and the judge's identity."""
        questions: list[Json] = [[q.id, q.hash] for q in pick_questions(self.questions)]
        return super().computed() | {"rubric": questions, "judge": dict(self.engine.identity)}

    def tables(self) -> Sequence[str]:
        """One a question."""
        return self.questions

    @property
    def batch_size(self) -> int:
        """Samples that are in hand at once."""
        engine = self.engine
        return engine.samples_at_once if isinstance(engine, ServedEngineConfig) else SAMPLES_AT_ONCE

    @property
    def at_once(self) -> int:
        """Slices in a worker's hands."""
        return slices_at_once(self.engine)

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Every sample is judged; a judge drops nothing."""
        return (Planned(key=row.key, parents=(row,)) for row in rows)

    def build(self, ledger: Ledger) -> Judge:
        """The judge on its worker; the model is loaded with the first question that was never asked."""
        return Judge(self, ledger)

    def check_engine(self, ledger: Ledger) -> None:
        """Look whether the judge answers; nothing is asked.

        Raises:
            EndpointError: none of its endpoints does, or one is another judge.
        """
        if isinstance(self.engine, ServedEngineConfig):
            engine = self.engine.build(pick_questions(self.questions), ledger)
            try:
                engine.check()
            finally:
                engine.close()

    def make_beside(
        self, rows: Iterable[IndexRow], inputs: Sequence[Storage], ledger: Ledger, target: Storage
    ) -> Mapping[str, float]:
        """Judge the controls, into a table of their own; return what they cost.

        Args:
            rows: of the samples that the step judges.
            inputs: the directories that hold them.
            ledger: where replies are kept.
            target: the step's directory.
        """
        if not self.controls:
            return {}
        spoilt = self._spoilt(rows, inputs)
        judge = Judge(self, ledger)
        try:
            outcomes = judge([Work(key=sample.key, parents=(sample,)) for _, sample in spoilt])
            counts = judge.take_counts()
        finally:
            judge.close()
        write_controls(control_table([kind for kind, _ in spoilt], outcomes), target)
        return {name: counts[name] for name in COSTS if name in counts}

    def _spoilt(self, rows: Iterable[IndexRow], inputs: Sequence[Storage]) -> list[tuple[str, Sample]]:
        chosen = draw_rows(list(rows), self.controls)
        return list(spoil([Directory(inputs[row.directory]).sample(row.shard, row.row) for row in chosen]))

    def check_counts(self, counts: Mapping[str, float], planned: int) -> None:
        """Stop a step early that cannot end well.

        Raises:
            JudgeError: more samples have an unread reply than are tolerated of all that are planned.
        """
        unread = int(counts.get("unread_samples", 0))
        if unread >= ENOUGH_TO_TELL and unread > self.tolerate_unreadable * planned:
            causes = {name: int(count) for name, count in counts.items() if ":" in name}
            if counts.get("unreadable"):
                causes["unreadable"] = int(counts["unreadable"])
            raise self._too_many(unread, planned, causes)

    def check_scores(self, storage: Storage) -> None:
        """Check the finished tables.

        Raises:
            JudgeError: more samples have an unread reply than are tolerated.
        """
        unread = total = pa.array([], pa.string())
        statuses: dict[str, int] = {}
        for question in questions(storage):
            table = read_table(storage, question, ["key", "status"])
            bad = table.filter(pc.not_equal(table.column("status"), "ok"))
            unread, total = _joined(unread, bad.column("key")), _joined(total, table.column("key"))
            for each in pc.value_counts(bad.column("status")).to_pylist():
                statuses[f"{question}: {each['values']}"] = each["counts"]
        if len(unread) > self.tolerate_unreadable * len(total):
            raise self._too_many(len(unread), len(total), statuses)

    def _too_many(self, unread: int, total: int, causes: Mapping[str, int]) -> JudgeError:
        told = ", ".join(f"{count} {name}" for name, count in sorted(causes.items()))
        way_out = (
            "an unreadable reply is paid and would come again, as the model says something else than a label"
            if all("unreadable" in name for name in causes)
            else "`bakery retry` asks errors again"
        )
        return JudgeError(
            f"judge: expected at most {self.tolerate_unreadable:.1%} of samples with a reply that cannot be "
            f"read, got {unread} of {total} ({told}); {way_out}, tolerate_unreadable allows more; the "
            "replies that came are kept"
        )


def _joined(keys: pa.Array, more: pa.ChunkedArray) -> pa.Array:
    """Both, each key once; of ten million keys no object is made."""
    return pc.unique(pa.chunked_array([keys, *more.chunks], pa.string()))


class Judge(Stage):
    """Judges batches of samples; with a served engine from several threads."""

    def __init__(self, config: JudgeConfig, ledger: Ledger) -> None:
        self._config = config
        self._ledger = ledger
        self._questions: tuple[Question, ...] = pick_questions(config.questions)
        self._counts: Counter[str] = Counter()
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def _built(self) -> Engine:
        """The engine, made when it is first needed."""
        with self._lock:
            self._engine = self._engine or self._build()
            return self._engine

    def _build(self) -> Engine:
        engine = self._config.engine
        if isinstance(engine, ServedEngineConfig):
            return engine.build(self._questions, self._ledger)
        return InTurn(engine.build())

    def close(self) -> None:
        """End the engine, if it was ever needed."""
        if self._engine:
            self._engine.close()

    def __call__(self, batch: Sequence[Work]) -> list[Scores]:
        """The rows of each sample's questions."""
        asked = [(work.parents[0], self._requests(work.parents[0])) for work in batch]
        replies = self._replies(asked)
        return [
            self._scores(work, requests, replies) for work, (_, requests) in zip(batch, asked, strict=True)
        ]

    def unpaid(self, batch: Sequence[Work]) -> list[Work]:
        """Those of a batch about which something is left to ask."""
        return [work for work in batch if missing(self._ledger, list(self._requests(work.parents[0])))]

    def take_counts(self) -> dict[str, float]:
        """What was asked and what could not be read since the last call, by name."""
        with self._lock:
            counts = self._counts + Counter(self._engine.take_counts() if self._engine else {})
            self._counts.clear()
        return dict(counts)

    def _requests(self, sample: Sample) -> dict[bytes, Request]:
        requests = make_requests(sample, self._questions, self._config.engine.identity)
        return {request_hash(request_bytes(request)): request for request in requests}

    def _replies(self, asked: Sequence[Asked]) -> dict[bytes, bytes]:
        """The reply to every request: from the ledger, or asked and then committed to it.

        What another worker is asking is waited for, and asked only if that one got no reply to keep.
        """
        left = {address for _, requests in asked for address in requests}
        replies = self._paid(left)
        asking = self._ledger.asking
        while left := left - set(replies):
            if not (own := asking.take_on(left)):
                time.sleep(WAIT_S)
                continue
            try:
                self._ledger.refresh()  # another worker may have paid for some, and be gone
                replies |= self._paid(own)
                if unpaid := own - set(replies):
                    replies |= pay(self._built(), self._ledger, _only(asked, unpaid))
            finally:
                asking.let_go(own)
        return replies

    def _paid(self, addresses: set[bytes]) -> dict[bytes, bytes]:
        return {a: reply for a in addresses if (reply := self._ledger.get(a)) is not None}

    def _scores(
        self, work: Work, requests: Mapping[bytes, Request], replies: Mapping[bytes, bytes]
    ) -> Scores:
        rows = make_rows(
            work.key,
            self._questions,
            list(requests.values()),
            [replies[address] for address in requests],
            self._config.mass_floor,
        )
        statuses = Counter(row["status"] for found in rows.values() for row in found)
        del statuses["ok"]
        with self._lock:
            self._counts.update({"unread_samples": bool(statuses), "unreadable": statuses["unreadable"]})
        return Scores(rows=rows)


def pay(engine: Engine, ledger: Ledger, asked: Sequence[Asked]) -> dict[bytes, bytes]:
    """The reply to each request, those that are paid for committed as they come."""
    replies: dict[bytes, bytes] = {}
    waiting: dict[bytes, bytes] = {}
    try:
        for answer in engine.answers(asked):
            replies[answer.address] = answer.reply
            if answer.is_paid:
                waiting[answer.address] = answer.reply
            if len(waiting) >= COMMIT_EVERY:
                ledger.commit(waiting)
                waiting = {}
    finally:
        ledger.commit(waiting)
    return replies


def _only(asked: Sequence[Asked], unpaid: set[bytes]) -> list[Asked]:
    """What is unpaid, each address once, with the first sample that asks it."""
    left = set(unpaid)
    found: list[Asked] = []
    for sample, requests in asked:
        own = {address: request for address, request in requests.items() if address in left}
        left -= set(own)
        if own:
            found.append((sample, own))
    return found
