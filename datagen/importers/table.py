"""A folder of one's own: pictures, and a CSV or JSONL that says which belong together."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from datagen.importers.jsonl import JsonlSettings, json_rows
from datagen.importers.source import Source
from datagen.unusable import UnusableError

FOLDER = {
    "instruction": "instruction",
    "references": "references",
    "target": "target",
    "task": "task",
    "case": "case",
    "licence": "licence",
}


class TableSettings(JsonlSettings):
    """Settings of `import_table`."""

    SOURCE: ClassVar[str] = "folder"
    NAMES: ClassVar[Mapping[str, str]] = FOLDER

    files: tuple[str, ...] = Field(
        default=("*.csv", "*.jsonl"), min_length=1, description="patterns of the tables: .csv, .tsv or .jsonl"
    )

    def rows(self, file: str) -> Iterator[tuple[str, object]]:
        """(place, row) of each row of a file."""
        read = json_rows if file.endswith(".jsonl") else csv_rows
        return read(self.source, file)


def csv_rows(source: Source, file: str) -> Iterator[tuple[str, object]]:
    """(place, row) of each row of a CSV or TSV; a row that is none is the reason why.

    A place is the line in which a row ends.
    """
    lines = (line.decode("utf-8-sig", errors="replace") + "\n" for line in source.lines(file))
    reader = csv.DictReader(lines, delimiter="\t" if file.endswith(".tsv") else ",", strict=True)
    while True:
        row: object
        try:
            row = _row(next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            row = UnusableError("bad_metadata", f"expected a row of a CSV, got {error}")
        yield f"{file}:{reader.line_num}", row


def _row(row: Mapping[str | None, object]) -> object:
    if any(isinstance(value, str) and "\ufffd" in value for value in row.values()):
        return UnusableError("bad_metadata", f"expected text in UTF-8, got {list(row.values())!r:.120}")
    return {name: value for name, value in row.items() if isinstance(name, str)}
