"""`verify`: a judge with the checks of multi-candidate samples, whose tables `select` decides over."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator

from filters.checks import ALL, CHECKS, LIKENESS, POSITION, QUESTIONS, check_rows, is_asked, position_row
from filters.embedded import HEADS, NETWORK, file_hash
from filters.embedded_checks import EmbeddedChecksConfig
from filters.judge import Request, Row, make_requests, request_bytes
from filters.judge_step import Judge, JudgeConfig
from filters.raw import Edited, RawReferences, ancestors
from filters.served import ServedEngineConfig
from shards.ledger import Ledger, request_hash
from shards.sample import Json, Sample
from shards.settings import RUN
from shards.stage import Scores, Work
from shards.storage import Storage

if TYPE_CHECKING:
    from filters.likeness import LikenessMeter

LIKENESS_VERSION = 2  # of filters/likeness.py, and of what a check makes of it


class VerifyConfig(JudgeConfig):
    """Settings of `verify`: those of a judge; what is asked is `filters/checks.py`'s."""

    VERSION: ClassVar[int] = 2

    questions: tuple[str, ...] = Field(default=QUESTIONS, description="fixed; `judge` asks others")
    engine: Annotated[EmbeddedChecksConfig | ServedEngineConfig, Field(discriminator="kind")] = (
        EmbeddedChecksConfig()  # type: ignore[assignment]
    )
    controls: Literal[0] = Field(default=0, description="none: they are of `judge`")
    raw_at: Annotated[tuple[str, ...], Field(**RUN)] = Field(
        default=(), description="directories of raw references; found by the run"
    )

    @field_validator("questions")
    @classmethod
    def _fixed(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names != QUESTIONS:
            raise ValueError("no questions: verify asks its own; a step `judge` asks others")
        return names

    def computed(self) -> dict[str, Json]:
        """As a judge's, the version of the judge it is built on, and what is measured beside its answers."""
        settings = super().computed() | {"judge_version": JudgeConfig.VERSION}
        if not self.measures:
            return settings
        files: dict[str, Json] = {"network": file_hash(NETWORK), "heads": file_hash(HEADS)}
        return settings | {"likeness": {"version": LIKENESS_VERSION, **files}}

    @property
    def measures(self) -> bool:
        """Whether likeness is measured beside the answers; the embedded verifier answers by such measures."""
        return isinstance(self.engine, ServedEngineConfig)

    def tables(self) -> Sequence[str]:
        """One a question, one a check, and what is measured or read."""
        return (*self.questions, *CHECKS, ALL, POSITION, *((LIKENESS,) if self.measures else ()))

    def reading(self, inputs: Sequence[Storage]) -> Self:
        """The settings with the directories that the inputs were made from: raw references are there.

        Raises:
            LineageError: one of them is gone.
        """
        return self.model_copy(update={"raw_at": tuple(storage.uri for storage in ancestors(inputs))})

    def build(self, ledger: Ledger) -> Verifier:
        """The verifier on its worker."""
        return Verifier(self, ledger)


class Verifier(Judge):
    """Judges samples, and adds the checks' rows to the questions'."""

    def __init__(self, config: VerifyConfig, ledger: Ledger) -> None:
        super().__init__(config, ledger)
        self._raw = RawReferences([Storage(uri) for uri in config.raw_at])
        self._measures = config.measures
        self._reading = threading.Lock()

    def __call__(self, batch: Sequence[Work]) -> list[Scores]:
        """The rows of each sample's questions and checks."""
        beside = self._beside(batch)
        found = super().__call__(beside)
        return [self._checked(work.parents[0], scores) for work, scores in zip(beside, found, strict=True)]

    def _checked(self, sample: Sample, scores: Scores) -> Scores:
        rows = {**scores.rows, **self._measured(sample)}
        return Scores(rows={**rows, **check_rows(sample, rows), POSITION: [position_row(sample)]})

    def _measured(self, sample: Sample) -> dict[str, list[Row]]:
        if not self._measures:
            return {}
        assert isinstance(sample, Edited)
        return {LIKENESS: self._meter.rows(sample)}

    @cached_property
    def _meter(self) -> LikenessMeter:
        """Made when it is first needed; onnxruntime is imported here, not before."""
        from filters.likeness import LikenessMeter

        return LikenessMeter()

    def unpaid(self, batch: Sequence[Work]) -> list[Work]:
        """Those of a batch about which something is left to ask."""
        left = {work.key for work in super().unpaid(self._beside(batch))}
        return [work for work in batch if work.key in left]

    def _beside(self, batch: Sequence[Work]) -> list[Work]:
        """Each sample with the raw form of its edited references."""
        with self._reading:
            return [replace(work, parents=(self._raw.beside(work.parents[0]),)) for work in batch]

    def _requests(self, sample: Sample) -> dict[bytes, Request]:
        known = sample.known if isinstance(sample, Edited) else ()
        requests = make_requests(sample, self._questions, self._config.engine.identity)
        return {
            request_hash(request_bytes(request)): request
            for request in requests
            if is_asked(sample, request.question, request.reference, request.candidate, known)
        }
