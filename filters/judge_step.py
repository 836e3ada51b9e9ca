"""The judge as a step: asks what the ledger does not hold, commits the replies, then derives rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field, field_validator

from filters.embedded import EmbeddedEngineConfig
from filters.judge import MASS_FLOOR, Engine, Request, make_requests, make_rows, request_bytes
from filters.rubrics import Question, pick_questions
from shards.ledger import Ledger, request_hash
from shards.sample import Json, Sample
from shards.settings import Settings
from shards.stage import IndexRow, Planned, Scores, Stage, Work

COMMIT_EVERY = 8


class JudgeConfig(Settings):
    """Settings of `judge`."""

    VERSION: ClassVar[int] = 1

    questions: tuple[str, ...] = Field(min_length=1, description="ids of the rubric's questions")
    engine: EmbeddedEngineConfig = EmbeddedEngineConfig()
    mass_floor: float = Field(
        default=MASS_FLOOR, ge=0, le=1, description="label mass under which a reply is unreadable"
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

    @property
    def batch_size(self) -> int:
        """Samples between two commits to the ledger: what a crash can cost."""
        return COMMIT_EVERY

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Every sample is judged; a judge drops nothing."""
        return (Planned(key=row.key, parents=(row,)) for row in rows)

    def build(self, ledger: Ledger) -> Stage:
        """The judge on its worker; the model is loaded with the first question that was never asked."""
        return Judge(self, ledger)


class Judge:
    """Judges samples one after the other."""

    def __init__(self, config: JudgeConfig, ledger: Ledger) -> None:
        self._config = config
        self._ledger = ledger
        self._questions: tuple[Question, ...] = pick_questions(config.questions)

    @cached_property
    def _engine(self) -> Engine:
        return self._config.engine.build()

    def __call__(self, batch: Sequence[Work]) -> list[Scores]:
        """The rows of each sample's questions; the model sees one sample at a time."""
        asked = [self._requests(work.parents[0]) for work in batch]
        self._pay([(work.parents[0], requests) for work, requests in zip(batch, asked, strict=True)])
        return [self._scores(work, requests) for work, requests in zip(batch, asked, strict=True)]

    def _requests(self, sample: Sample) -> dict[bytes, Request]:
        requests = make_requests(sample, self._questions, self._config.engine.identity)
        return {request_hash(request_bytes(request)): request for request in requests}

    def _pay(self, asked: Sequence[tuple[Sample, Mapping[bytes, Request]]]) -> None:
        replies: dict[bytes, bytes] = {}
        for sample, requests in asked:
            unpaid = {
                address: request
                for address, request in requests.items()
                if address not in replies and self._ledger.get(address) is None
            }
            if unpaid:
                answers = self._engine.answer(sample, list(unpaid.values()))
                replies.update(zip(unpaid, answers, strict=True))
        self._ledger.commit(replies)

    def _scores(self, work: Work, requests: Mapping[bytes, Request]) -> Scores:
        replies = [reply for address in requests if (reply := self._ledger.get(address)) is not None]
        floor = self._config.mass_floor
        return Scores(rows=make_rows(work.key, self._questions, list(requests.values()), replies, floor))
