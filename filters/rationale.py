"""A judge's reasons in words, asked a second time for the few samples that a person will look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from filters.judge import Request
from shards.chat import parse_json
from shards.sample import Json

VERSION = 2
MAX_TOKENS = 200
WRITTEN = "written"  # in a request's `claims`: an answer in words is wanted
ASK = (
    "\n\nSay in one or two sentences what decided your answer, then give the answer, as JSON with the fields "
    '"reason" and "answer".'
)


@dataclass(frozen=True)
class Rationale:
    """What a judge wrote: its reason, and the label it then gave."""

    reason: str
    answer: str


def ask_in_words(request: Request) -> Request:
    """The request that asks the same question for a reason."""
    text = request.text.rpartition("\n\nAnswer with")[0] or request.text
    return replace(request, text=text + ASK, claims={WRITTEN: VERSION, "max_tokens": MAX_TOKENS})


def is_written(request: Request) -> bool:
    """Whether an answer in words is wanted."""
    return isinstance(request.claims, Mapping) and WRITTEN in request.claims


def schema(labels: Iterable[str]) -> dict[str, Json]:
    """The JSON schema of a rationale: the reason first, as what is written first decides."""
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": 600},
            "answer": {"type": "string", "enum": list(labels)},
        },
        "required": ["reason", "answer"],
        "additionalProperties": False,
    }


def read_rationale(reply: bytes) -> Rationale | None:
    """What was written; None where it is no JSON of the schema, as where it was cut off.

    >>> read_rationale(b'{"reason": "the handle is gone", "answer": "2"}')
    Rationale(reason='the handle is gone', answer='2')
    """
    try:
        value = parse_json(reply.decode(errors="replace"))
        return Rationale(str(value["reason"]), str(value["answer"]))
    except (ValueError, KeyError, TypeError):
        return None


def nearest(
    rows: Iterable[Mapping[str, Any]], threshold: float, within: float, most: int
) -> list[Mapping[str, Any]]:
    """The rows whose expected value is nearest to a threshold, nearest first."""
    read = [row for row in rows if row["status"] == "ok" and abs(row["expected"] - threshold) <= within]
    return sorted(read, key=lambda row: (abs(row["expected"] - threshold), row["key"]))[:most]
