"""Reasons that a judge wrote, found again in the ledger for the few samples on a page; nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filters.judge import make_requests, request_bytes
from filters.rationale import ask_in_words, read_rationale
from filters.rubrics import Question, load_questions
from shards.driver_step import Input
from shards.ledger import FOLDER, Ledger, request_hash
from shards.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a judge answered a question as it did, in its own words.

    Attributes:
        question: asked.
        reference: the reference image asked about, from 1; 0 for the whole sample.
        words: what it wrote.
        answer: the label that it then gave.
    """

    question: str
    reference: int
    words: str
    answer: str


class Reasons:
    """What the judges of a set wrote about its samples, as `bakery explain` had them do.

    Args:
        judges: finished directories of scores; the ledger lies beside them.
    """

    def __init__(self, judges: Sequence[Input]) -> None:
        self._asked = [(judge, found) for judge in judges if (found := _as_asked(judge))]
        self._ledgers: dict[str, Ledger] = {}

    def of(self, sample: Sample) -> list[Reason]:
        """What was written about a sample, in the order of questions."""
        return [
            reason
            for judge, (questions, identity) in self._asked
            for reason in self._of(sample, judge, questions, identity)
        ]

    def _of(
        self, sample: Sample, judge: Input, questions: Sequence[Question], identity: Mapping[str, Any]
    ) -> list[Reason]:
        ledger = self._ledger(judge)
        found = []
        for request in make_requests(sample, questions, identity):
            reply = ledger.get(request_hash(request_bytes(ask_in_words(request))))
            rationale = read_rationale(reply) if reply else None
            if rationale:
                found.append(
                    Reason(
                        question=request.question,
                        reference=request.reference + 1,
                        words=rationale.reason,
                        answer=rationale.answer,
                    )
                )
        return found

    def _ledger(self, judge: Input) -> Ledger:
        storage = judge.storage.sibling(FOLDER)
        return self._ledgers.setdefault(storage.uri, Ledger(storage))


def _as_asked(judge: Input) -> tuple[list[Question], Mapping[str, Any]] | None:
    """Questions and identity of a served judge; None for one that writes nothing.

    A question whose wording has changed since is left out: its reasons are to other words.
    """
    settings: Any = judge.manifest.config.get("settings")
    identity: Any = settings.get("judge") if isinstance(settings, Mapping) else None
    if not isinstance(identity, Mapping) or identity.get("engine") != "served":
        return None
    known = load_questions()
    asked = [
        known[name] for name, digest in settings["rubric"] if name in known and known[name].hash == digest
    ]
    # The words about a candidate's raw reference need images that a page does not have.
    return [question for question in asked if "raw" not in question.images], identity
