"""Kept samples as plain WebDataset tars, each published whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from datagen.exporters.kept import KeptSample, Target
from shards.tar import Member, TarWriter

Describe = Callable[[KeptSample], bytes]


@dataclass(frozen=True)
class Shard:
    """A tar that was written: its name, and its members by sample."""

    name: str
    samples: Sequence[tuple[str, Sequence[Member]]]


def write_shards(
    target: Target, samples: Iterator[KeptSample], folder: str, samples_a_shard: int, describe: Describe
) -> Iterator[Shard]:
    """Write shards one by one.

    Args:
        target: where to.
        samples: in their order.
        folder: of the shards.
        samples_a_shard: in each but the last.
        describe: the JSON member of a sample.
    """
    number = 0
    while True:
        name = f"{folder}/{number:05d}.tar"
        with target.storage.scratch() as path:
            with TarWriter(path) as writer:
                written = [
                    (sample.key, _write(writer, sample, describe))
                    for sample in islice(samples, samples_a_shard)
                ]
            if not written:
                return
            target.publish(path, name)
        yield Shard(name, written)
        number += 1


def _write(writer: TarWriter, sample: KeptSample, describe: Describe) -> list[Member]:
    parts = [("json", describe(sample)), *sample.images]
    return [writer.add(f"{sample.key}.{name}", data) for name, data in parts]
