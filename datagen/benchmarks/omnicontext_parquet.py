"""OmniContext as it is published: parquet with pictures in its cells, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from datagen.benchmarks.cases import published_key
from datagen.benchmarks.omnicontext_types import ENGLISH, LANGUAGE, NAMES, check_type
from datagen.importers.parquet import ParquetSettings, Row, image_bytes, text_in
from datagen.importers.records import Record
from datagen.importers.source import SourceError
from datagen.importers.stage import Raw
from datagen.unusable import UnusableError
from shards.plan import Refused


class OmniContextParquet(ParquetSettings):
    """Where it lies and which columns it has; no step of a recipe."""

    SOURCE: ClassVar[str] = "omnicontext"

    @property
    def names(self) -> Mapping[str, str]:
        """Our name of a column: the name in the set."""
        if unknown := sorted(set(self.columns) - set(NAMES)):
            raise SourceError(f"columns: expected names of {', '.join(NAMES)}, got {unknown[0]!r}")
        return {**NAMES, **self.columns}

    @property
    def needed(self) -> Sequence[str]:
        """Columns that the files must have."""
        return [self.names[role] for role in ("instruction", "references", "task")]

    @property
    def metadata(self) -> Sequence[str]:
        """All but the pictures."""
        return [name for role, name in self.names.items() if role != "references"]

    def about(self, row: Row) -> dict[str, Any]:
        """What `where` can ask; a row that does not tell its language is English."""
        return {**row, LANGUAGE: row.get(self.names["language"], ENGLISH)}

    def cases(self) -> Iterator[Record | Refused]:
        """A case a row, without its pictures; told from others by its words."""
        for record in self.records():
            if isinstance(record, Refused):
                yield record
                continue
            try:
                yield self._case(record)
            except UnusableError as error:
                yield Refused(origin=record.place, reason=error.reason, detail=str(error))

    def _case(self, record: Record) -> Record:
        key = published_key(record.columns.get(self.names["key"]))
        case = check_type(record.columns.get(self.names["task"]))
        instruction = text_in(record.columns.get(self.names["instruction"]), "instruction")
        spec = {**record.spec, "instruction": instruction}
        return replace(record, key=key, identity=[key, case, instruction], spec=spec)

    def raw(self, row: Row) -> Raw:
        """A case with its pictures."""
        name = self.names["references"]
        licence = row.get(self.names["licence"])
        cell = row[name] if isinstance(row[name], list) else [row[name]]
        if not cell:
            raise UnusableError("no_reference", f"{name}: expected at least one reference image, got none")
        return Raw(
            instruction=text_in(row[self.names["instruction"]], "instruction"),
            images=[image_bytes(each, name) for each in cell],
            origin={"key": published_key(row.get(self.names["key"]))},
            case=check_type(row.get(self.names["task"])),
            licence=licence if isinstance(licence, str) else "",
        )
