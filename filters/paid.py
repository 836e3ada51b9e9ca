"""Whether a judge has anything left to ask: from indexes and the samples' JSON, no image opened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from filters.judge import make_requests, request_bytes
from filters.rubrics import Question
from shards.index import Directory
from shards.ledger import Ledger, request_hash
from shards.sample import EncodedImage, Json, Sample, parse_sample
from shards.stage import IndexRow
from shards.storage import Storage
from shards.tar import Member

BLANK = EncodedImage(b"", "png")


def read_claim(directory: Directory, shard: int, row: Mapping[str, Any]) -> Sample:
    """A sample without its pictures: only its JSON member is read.

    Args:
        directory: that holds it.
        shard: number of its shard.
        row: its row of the index.
    """
    members = [member for member in row["members"] if member["name"].endswith(".json")]
    ((member, text),) = directory.read_members(shard, members)
    count = len(json.loads(text)["subjects"])
    return parse_sample(member.key, {f"ref{n}": BLANK for n in range(count)} | {"target": BLANK}, text)


def all_paid(
    rows: Iterable[IndexRow],
    inputs: Sequence[Storage],
    questions: Sequence[Question],
    identity: Mapping[str, Json],
    ledger: Ledger,
) -> bool:
    """Whether the ledger holds the reply to every question about these samples; stops at the first it lacks.

    A question whose words need an image's size has other words here, and so counts as unpaid: the answer is
    never yes where something is left to ask.
    """
    return all(
        ledger.get(request_hash(request_bytes(request))) is not None
        for claim, digests in _claims(rows, inputs)
        for request in make_requests(claim, questions, identity, digests=digests)
    )


def samples_paid(
    samples: Iterable[Sample], questions: Sequence[Question], identity: Mapping[str, Json], ledger: Ledger
) -> bool:
    """The same of samples that are at hand."""
    return all(
        ledger.get(request_hash(request_bytes(request))) is not None
        for sample in samples
        for request in make_requests(sample, questions, identity)
    )


def _claims(
    rows: Iterable[IndexRow], inputs: Sequence[Storage]
) -> Iterator[tuple[Sample, Mapping[str, str]]]:
    """Each sample without its pictures, and the sha256 of each picture by name."""
    opened = [Directory(storage) for storage in inputs]
    for (number, shard), group in groupby(rows, key=lambda row: (row.directory, row.shard)):
        for row in opened[number].some_rows(shard, [each.row for each in group]):
            members = [Member(m["name"], m["offset"], m["size"], m["sha256"]) for m in row["members"]]
            yield read_claim(opened[number], shard, row), {m.part: m.sha256.hex() for m in members}
