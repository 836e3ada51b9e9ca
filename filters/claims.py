"""What a sample claims, read from its JSON member alone: no image is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from shards.index import Directory
from shards.sample import EncodedImage, Sample, parse_sample

BLANK = EncodedImage(b"", "png")


def read_claim(directory: Directory, shard: int, row: Mapping[str, Any]) -> Sample:
    """A sample without its pictures.

    Args:
        directory: that holds it.
        shard: number of its shard.
        row: its row of the index.
    """
    members = [member for member in row["members"] if member["name"].endswith(".json")]
    ((member, text),) = directory.read_members(shard, members)
    count = len(json.loads(text)["subjects"])
    return parse_sample(member.key, {f"ref{n}": BLANK for n in range(count)} | {"target": BLANK}, text)


def read_claims(directory: Directory, keys: set[str]) -> Iterator[Sample]:
    """Samples by key without their pictures: only the JSON member of each is read."""
    for key in sorted(keys & set(directory.places), key=lambda key: directory.places[key]):
        shard, place = directory.places[key]
        yield read_claim(directory, shard, directory.row(shard, place))
