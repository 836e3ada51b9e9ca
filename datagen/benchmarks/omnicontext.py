"""OmniContext: the jsonl copy with paths of pictures, or the published parquet with pictures in its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from datagen.benchmarks.cases import Benchmark, CaseShape
from datagen.benchmarks.omnicontext_parquet import OmniContextParquet
from datagen.benchmarks.omnicontext_types import ENGLISH, LANGUAGE, NAMES, check_type
from datagen.importers.files import FileReader
from datagen.importers.jsonl import json_rows
from datagen.importers.parquet import ParquetReader
from datagen.importers.paths import Paths
from datagen.importers.records import Condition, Record
from datagen.importers.rows import RowReader
from datagen.importers.source import SourceError
from datagen.importers.stage import Raw
from shards.plan import Refused
from shards.sample import Json


class OmniContext(Benchmark):
    """The benchmark of OmniGen2; only its English instructions are scored, so only those are drawn."""

    FILES: ClassVar[Sequence[Sequence[str]]] = (("*.jsonl",), ("*.parquet",))
    WHERE: ClassVar[Mapping[str, Condition]] = {LANGUAGE: ENGLISH}

    @cached_property
    def is_parquet(self) -> bool:
        """Which form it has.

        Raises:
            SourceError: it has both.
        """
        found = {name.endswith(".parquet") for name in self.files}
        if len(found) > 1:
            raise SourceError(
                f"{self.settings.source.where}: expected files of one form, got {', '.join(self.files[:6])}; "
                "name those of the benchmark with `files`"
            )
        return found.pop()

    def cases(self) -> Iterator[Record | Refused]:
        """A case a line or row."""
        return self._parquet.cases() if self.is_parquet else self._lines()

    def _lines(self) -> Iterator[Record | Refused]:
        reader = RowReader(OmniContextShape({**NAMES, **self.settings.columns}), self.settings.paths)
        for file in self.files:
            yield from reader.records(json_rows(self.settings.source, file), file)
        reader.check()

    @property
    def _parquet(self) -> OmniContextParquet:
        columns = self.settings.columns
        return OmniContextParquet(path=self.settings.path, files=tuple(self.files), columns=columns)

    def reader(self) -> EitherReader:
        """Reads files, spilt members, or rows of parquet."""
        settings = OmniContextParquet(path=self.settings.path, columns=self.settings.columns)
        files = FileReader(self.settings.source, self.settings.scratch)
        return EitherReader(files, ParquetReader(settings))


class OmniContextShape(CaseShape):
    """The columns of a case in the jsonl copy; a row that does not tell its language is English."""

    ROLES: ClassVar[Sequence[str]] = (*CaseShape.ROLES, "language")

    def record(self, row: Mapping[str, Any], paths: Paths, place: str, file: str) -> Record:
        """The record of one row.

        Raises:
            UnusableError: the row is none.
        """
        record = super().record(row, paths, place, file)
        columns = {**record.columns, LANGUAGE: row.get(self.names["language"], ENGLISH)}
        case = check_type(row[self.names["task"]])
        return replace(record, columns=columns, spec={**record.spec, "case": case})


class EitherReader:
    """Reads what a plan names, whichever form it was planned from."""

    def __init__(self, files: FileReader, parquet: ParquetReader) -> None:
        self._files = files
        self._parquet = parquet

    def read(self, spec: Mapping[str, Json]) -> Raw:
        """One case with its pictures.

        Raises:
            UnusableError: it cannot be read.
        """
        return self._files.read(spec) if "images" in spec else self._parquet.read(spec)
