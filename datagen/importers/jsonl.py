"""OmniGen2-style jsonl: an instruction, input images, an output image; loose or in archives beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from datagen.importers.files import FileReader
from datagen.importers.records import Record
from datagen.importers.rows import RowReader, RowShape
from datagen.importers.settings import ArchiveSettings
from datagen.importers.source import Source, parse_json
from datagen.unusable import UnusableError
from shards.plan import Refused

OMNIGEN2 = {
    "instruction": "instruction",
    "references": "input_images",
    "target": "output_image",
    "task": "task_type",
    "case": "case_type",
    "licence": "licence",
}


class JsonlSettings(ArchiveSettings):
    """Settings of `import_jsonl`."""

    SOURCE: ClassVar[str] = "jsonl"
    NAMES: ClassVar[Mapping[str, str]] = OMNIGEN2

    files: tuple[str, ...] = Field(
        default=("*.jsonl",), min_length=1, description="patterns of the jsonl files"
    )

    @property
    def shape(self) -> RowShape:
        """Which column holds what."""
        return RowShape({**self.NAMES, **self.columns})

    def check(self) -> None:
        """As for archives, and there are jsonl files."""
        super().check()
        self.source.some(*self.files)
        _ = self.shape

    def records(self) -> Iterator[Record | Refused]:
        """A record a line."""
        reader = RowReader(self.shape, self.paths)
        for file in self.source.some(*self.files):
            yield from reader.records(self.rows(file), file)
        reader.check()

    def rows(self, file: str) -> Iterator[tuple[str, object]]:
        """(place, row) of each line of a file."""
        return json_rows(self.source, file)

    def reader(self) -> FileReader:
        """Reads files and spilt members."""
        return FileReader(self.source, self.scratch)


def json_rows(source: Source, file: str) -> Iterator[tuple[str, object]]:
    """(place, row) of each line; a row that is no JSON is the reason why."""
    for number, line in enumerate(source.lines(file), start=1):
        place = f"{file}:{number}"
        if line.strip():
            try:
                yield place, parse_json(line, place)
            except UnusableError as error:
                yield place, error
