"""`split`: a share of a set by its keys, to hold out, and all that is left, to train on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from filters.scored import read_samples
from filters.select import KEPT, books
from shards.driver_step import DriverStep, Input, Result
from shards.manifest import record
from shards.selection import FILE, write_selection
from shards.storage import Storage

REASONS = {"held_out": "to train on", "rest": "held out"}  # why a sample is not in a part


class SplitConfig(DriverStep):
    """Settings of `split`.

    Two steps with the same share and seed, one a part, share a set between them without a sample in both. A
    sample's part depends on its key alone: it stays where it is when others come or go. What is split again
    wants another seed.
    """

    VERSION: ClassVar[int] = 1

    share: float = Field(
        gt=0, lt=1, description="of the samples, that is held out; roughly, as each is drawn"
    )
    part: Literal["held_out", "rest"] = Field(description="which samples are kept")
    seed: int = Field(default=0, ge=0, description="of the drawing; the recipe's seed unless set")

    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Write `selection.parquet`."""
        (of,) = inputs["input"]
        keys = read_samples(of).keys
        reason = REASONS[self.part]
        kept = [
            is_held_out(key, self.share, self.seed) == (self.part == "held_out") for key in keys.to_pylist()
        ]
        table = pa.table({"key": keys, "keep": kept, "reason": [KEPT if keep else reason for keep in kept]})
        with target.scratch() as path:
            write_selection(table, path)
            target.publish(path, FILE)
        return Result(files={FILE: record(target, FILE)}, books=books(table))


def is_held_out(key: str, share: float, seed: int) -> bool:
    """Whether a sample is held out; of a smaller share none that would not be of a larger one.

    >>> [is_held_out(f"sample-{number}", 0.5, 0) for number in range(6)]
    [False, True, False, False, True, False]
    """
    digest = hashlib.blake2b(f"split:{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * (1 << 64)
