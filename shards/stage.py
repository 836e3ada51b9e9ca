"""What a step does to its work: what engines hand to a stage, and what comes back."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from shards.sample import Json, Sample, canonical_json


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRow:
    """What a plan may know of a finished sample: its row in the index, no pixels.

    Attributes:
        key: of the sample.
        task: SconeEval's task type.
        case: case type, e.g. "character+object".
        source: name of the published set or of the builder.
        licence: SPDX identifier or the publisher's words.
        references: number of reference images.
        directory: which of the step's inputs it is in, from 0.
        shard: number of its shard there.
        row: its position in that shard.
        digest: hash of its content, the same wherever it lies.
        category: of the subjects that its target is to show, e.g. "animal+furniture".
    """

    key: str
    task: str
    case: str
    source: str
    licence: str
    references: int
    directory: int
    shard: int
    row: int
    digest: str = ""
    category: str = ""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One sample that a step intends to make; plans are written down before work starts.

    Attributes:
        key: of what is to be made, from content or plan, never from position.
        spec: what the plan decided for it: case, numbers, seeds. Small; holds no image.
        parents: the samples it is to be made from.
        is_more: whether it is of the same entry of a source as the one before it: the books count that once.
    """

    key: str
    spec: Mapping[str, Json] = field(default_factory=dict)
    parents: tuple[IndexRow, ...] = ()
    is_more: bool = False


@dataclass(frozen=True, kw_only=True)
class Work:
    """One planned sample, on the worker, with the samples it is to be made from.

    Attributes:
        key: of what is to be made; for a scorer, of what is to be judged.
        spec: what the plan decided for it: case, numbers, seeds. Small; holds no image.
        parents: the samples it is made from or judged on, read from their shards.
    """

    key: str
    spec: Mapping[str, Json] = field(default_factory=dict)
    parents: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Why planned work became no sample. Bad data is a row; a bad program is an exception.

    Attributes:
        reason: a short name to count by, e.g. "no_intra_candidate", "undecodable".
        detail: what a person needs to see the cause, e.g. the file and what was wrong with it.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a judge found for one sample: rows for the question tables, by question.

    Without any row the sample is rejected as `nothing_to_ask`: no table would tell that it was read.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class HandedOn:
    """The one parent, unchanged: its members are copied byte for byte, unread but for their checksums."""


Outcome: TypeAlias = Sample | Reject | Scores | HandedOn


class Stage(ABC):
    """Batch in, list out: one outcome for each piece of work, in order.

    Attributes:
        reads_parents: whether it looks at its work's parents; where not, they are not read, and given as ().
    """

    reads_parents: bool = True

    @abstractmethod
    def __call__(self, batch: Sequence[Work]) -> Sequence[Outcome]: ...

    def take_counts(self) -> Mapping[str, float]:
        """What it counted since the last call, e.g. requests and tokens; added up in the manifest."""
        return {}

    def close(self) -> None:  # noqa: B027, most hold nothing open
        """Called before another stage takes its place."""


def keyed_random(*parts: Json) -> Random:
    """The random stream of (recipe seed, step, sample key, attempt), the same on every machine.

    >>> keyed_random(7, "base", "base-00ff", 0).randrange(1000)
    85
    """
    return Random(int.from_bytes(hashlib.sha256(canonical_json(list(parts))).digest(), "big"))


def content_key(prefix: str, *parts: Json) -> str:
    """A sample key from content or plan: the prefix and 16 hexadecimal digits.

    >>> content_key("base", 7, 0)
    'base-263ef931bf2c8952'
    """
    return f"{prefix}-{hashlib.sha256(canonical_json(list(parts))).hexdigest()[:16]}"
