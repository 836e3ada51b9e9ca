"""Controls: samples spoilt in a known way, judged beside a set, so that a broken judge is seen."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from shards.image import ImageError, image_facts
from shards.sample import EncodedImage, Sample
from shards.stage import IndexRow, Scores
from shards.storage import Storage
from shards.tables import SCHEMA

FILE = "controls.parquet"
KINDS: Mapping[str, str] = {
    "copy": "the target is a copy of the first reference",
    "swapped": "the references are another sample's",
    "blank": "the target is plain grey",
}
TABLE = pa.schema([("control", pa.string()), ("question", pa.string()), *SCHEMA])


def draw_rows(rows: Iterable[IndexRow], count: int) -> list[IndexRow]:
    """Some samples of a set, the same ones every time, from all over it."""
    return heapq.nsmallest(count, rows, key=lambda row: hashlib.sha256(row.key.encode()).digest())


def spoil(samples: Sequence[Sample]) -> Iterator[tuple[str, Sample]]:
    """Each sample as each control; keys stay, as no control is ever a sample of a set."""
    for number, sample in enumerate(samples):
        yield "copy", replace(sample, target=sample.references[0])
        if len(samples) > 1:
            other = samples[(number + 1) % len(samples)].references
            count = len(sample.references)
            yield "swapped", replace(sample, references=tuple(other[n % len(other)] for n in range(count)))
        with suppress(ImageError):  # of a target that is no picture there is no size to be blank in
            yield "blank", replace(sample, target=_blank(sample.target))


def _blank(image: EncodedImage) -> EncodedImage:
    facts = image_facts(image)
    file = io.BytesIO()
    Image.new("RGB", (facts.width, facts.height), (128, 128, 128)).save(file, "PNG")
    return EncodedImage(file.getvalue(), "png")


def control_table(kinds: Iterable[str], outcomes: Iterable[Scores]) -> pa.Table:
    """The rows of all controls, each with its kind and question."""
    rows: list[dict[str, Any]] = [
        {"control": kind, "question": question, **row}
        for kind, outcome in zip(kinds, outcomes, strict=True)
        for question, found in outcome.rows.items()
        for row in found
    ]
    return pa.Table.from_pylist(rows, schema=TABLE)


def write_controls(table: pa.Table, storage: Storage) -> None:
    """Publish the table beside the scores."""
    with storage.scratch() as path:
        pq.write_table(table, Path(path), compression="zstd")
        storage.publish(path, FILE)


def read_controls(storage: Storage) -> pa.Table | None:
    """The controls of a judged directory, or None if none were asked for."""
    if not storage.exists(FILE):
        return None
    with storage.open(FILE) as file:
        return pq.read_table(file)
