"""What a de-duplication found alike: a row a match, and a few of them in words."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.selection import read_selection
from shards.storage import Storage
from shards.tables import WHOLE

FILE = "matches.parquet"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.int16()),  # number of the reference; -1 for the target, or for a sample as a whole
        ("other", pa.string()),  # a key; of a benchmark's folder the name of a picture
        ("other_image", pa.int16()),
        ("how", pa.string()),  # exact, phash, embedding
    ]
)
Example = tuple[str, str]  # key, what it is like


def write_matches(found: Sequence[tuple[str, int, str, int, str]], target: Storage) -> None:
    """Publish the matches: rows in the order of the schema."""
    columns = zip(*found, strict=True) if found else ((),) * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    with target.scratch() as path:
        pq.write_table(pa.table(arrays, schema=SCHEMA), path, compression="zstd")
        target.publish(path, FILE)


def read_matches(storage: Storage) -> pa.Table:
    """The matches of a finished de-duplication."""
    with storage.open(FILE) as file:
        return pq.read_table(file)


def match_examples(storage: Storage, reasons: Sequence[str], most: int) -> dict[str, tuple[Example, ...]]:
    """A few samples that went for each reason, the first by key, with what each is like."""
    selection, matches = read_selection(storage), read_matches(storage)
    found = {}
    for reason in reasons:
        gone = selection.filter(pc.equal(selection.column("reason"), reason)).column("key")
        rows = matches.filter(pc.is_in(matches.column("key"), gone)).sort_by("key").slice(0, most)
        found[reason] = tuple((row["key"], _words(reason, row)) for row in rows.to_pylist())
    return found


def _words(reason: str, row: dict[str, str | int]) -> str:
    if reason != "contaminated":
        return f"as {row['other']}, which was better ({row['how']})"
    is_file = "." in str(row["other"])  # no key has a dot
    theirs = row["other"] if is_file else f"{_picture(row['other_image'])} of {row['other']}"
    return f"{_picture(row['image'])} is the benchmark's {theirs} ({row['how']})"


def _picture(number: str | int) -> str:
    return "target" if number == WHOLE else f"image {int(number) + 1}"
