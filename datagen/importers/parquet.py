"""Parquet with pictures in it: metadata columns first, then chosen rows, a few at a time."""

from __future__ import annotations

import base64
import binascii
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from datagen.importers.parquet_pages import rows_at_once
from datagen.importers.records import Record
from datagen.importers.settings import CleanedSettings
from datagen.importers.source import SourceError
from datagen.importers.stage import Raw
from datagen.unusable import UnusableError
from shards.plan import Refused
from shards.sample import Json

ROWS = 2  # read at once: a row may hold five pictures, and what a few rows take stays in reach
METADATA_ROWS = 1024
BUFFER_BYTES = 1 << 20
MAX_PAGE_BYTES = 1 << 30
DAMAGED = (pa.ArrowException, OSError)

Row = Mapping[str, Any]


class ParquetSettings(CleanedSettings):
    """What importers of parquet share: `columns_needed` and `raw` say what a row is."""

    VERSION: ClassVar[int] = 3

    files: tuple[str, ...] = Field(default=("*.parquet",), min_length=1, description="patterns of the files")
    max_page_bytes: int = Field(
        default=MAX_PAGE_BYTES, ge=1, lt=1 << 31, description="of a page, and of a row's values, unpacked"
    )

    def _without(self, *roles: str) -> dict[str, Json]:
        """As ever; the limit where it was set, as directories were made before there was one."""
        found = super()._without(*roles)
        if self.max_page_bytes == MAX_PAGE_BYTES:
            del found["max_page_bytes"]
        return found

    def check(self) -> None:
        """Look at names alone."""
        self.source.some(*self.files)

    @property
    @abstractmethod
    def needed(self) -> Sequence[str]:
        """Columns that the files must have."""

    @property
    def metadata(self) -> Sequence[str]:
        """Columns read before pictures are; those that a file lacks are left out."""
        return ()

    def about(self, row: Row) -> dict[str, Any]:
        """What `where` can ask of a row's metadata."""
        return dict(row)

    def licence_in(self, row: Row) -> str:  # noqa: ARG002, most sets have one licence
        """The licence of a row's own; "" where it names none."""
        return ""

    @abstractmethod
    def raw(self, row: Row) -> Raw:
        """A record with its pictures."""

    def records(self) -> Iterator[Record | Refused]:
        """A record a row, without its pictures."""
        for file in self.source.some(*self.files):
            try:
                yield from self._rows(file)
            except DAMAGED as error:
                yield Refused(origin=file, reason="file_damaged", detail=f"{error!s:.200}")

    def _rows(self, file: str) -> Iterator[Record | Refused]:
        number = 0
        with self.source.storage.open(file) as opened:
            parquet = parquet_in(opened)
            self._check_schema(file, parquet.schema_arrow.names)
            wanted = [name for name in self.metadata if name in parquet.schema_arrow.names]
            for group in range(parquet.num_row_groups):
                try:
                    at_once = self.rows_at_once(parquet, opened, file, group, wanted, METADATA_ROWS)
                except UnusableError as error:
                    rows = parquet.metadata.row_group(group).num_rows
                    detail = f"row group {group} of {rows} rows: {error}"
                    yield Refused(origin=f"{file}:{number}", reason=error.reason, detail=detail)
                    number += rows
                    continue
                for place, row in enumerate(metadata_rows(parquet, group, wanted, at_once)):
                    if isinstance(row, UnusableError):
                        yield Refused(origin=f"{file}:{number}", reason=row.reason, detail=str(row))
                    else:
                        yield Record(
                            place=f"{file}:{number}",
                            identity=[file, number],
                            spec={"file": file, "group": group, "row": place, "number": number},
                            columns=self.about(row),
                            licence=self.licence_in(row),
                        )
                    number += 1

    def rows_at_once(
        self,
        parquet: Any,  # noqa: ANN401, a pyarrow.parquet.ParquetFile
        opened: Any,  # noqa: ANN401, the same as a pyarrow.NativeFile
        file: str,
        group: int,
        columns: Sequence[str],
        most: int,
    ) -> int:
        """How many rows of a group may be read at once.

        Raises:
            UnusableError: not even one: it would unpack to more than `max_page_bytes`, or is damaged.
        """
        try:
            return rows_at_once(parquet, opened, group, columns, self.max_page_bytes, most)
        except (KeyError, IndexError, ValueError, TypeError, *DAMAGED) as error:
            if isinstance(error, UnusableError):
                raise
            raise UnusableError(
                "file_damaged", f"{file}: row group {group}: expected pages, got {error!s:.200}"
            ) from error

    def _check_schema(self, file: str, names: Sequence[str]) -> None:
        lacking = [name for name in self.needed if name not in names]
        if lacking:
            raise SourceError(
                f"{self.source.where}: {file}: expected columns {', '.join(self.needed)}, got "
                f"{', '.join(names)}; map them with `columns: {{OURS: THEIRS}}`"
            )

    def reader(self) -> ParquetReader:
        """Reads chosen rows."""
        return ParquetReader(self)


def parquet_in(opened: Any) -> Any:  # noqa: ANN401, a pyarrow.NativeFile and a pyarrow.parquet.ParquetFile
    """A file that is read a page at a time: a row group of pictures can be larger than memory."""
    return pq.ParquetFile(opened, pre_buffer=False, buffer_size=BUFFER_BYTES)


def metadata_rows(
    parquet: Any,  # noqa: ANN401, a pyarrow.parquet.ParquetFile
    group: int,
    columns: Sequence[str],
    at_once: int,
) -> Iterator[Row | UnusableError]:
    """Rows of one group with these columns only; a row that cannot be read is the reason why."""
    if not columns:
        yield from ({} for _ in range(parquet.metadata.row_group(group).num_rows))
        return
    for batch in parquet.iter_batches(at_once, row_groups=[group], columns=list(columns)):
        try:
            yield from batch.to_pylist()
        except UnicodeDecodeError:  # in one of them: pyarrow does not look into texts before
            yield from (_row_or_reason(batch, number) for number in range(batch.num_rows))


def _row_or_reason(batch: pa.RecordBatch, number: int) -> Row | UnusableError:
    try:
        return row_of(batch, number)
    except UnusableError as error:
        return error


def row_of(batch: pa.RecordBatch, number: int) -> Row:
    """One of a few rows.

    Raises:
        UnusableError: a text of it is none.
    """
    try:
        (row,) = batch.slice(number, 1).to_pylist()
    except UnicodeDecodeError as error:
        raise UnusableError("bad_metadata", f"expected text in UTF-8, got {error!s:.120}") from error
    found: Row = row
    return found


class ParquetReader:
    """Reads rows of row groups; rows asked for in order are read once."""

    def __init__(self, settings: ParquetSettings) -> None:
        self._settings = settings
        self._file: tuple[str, Any, Any] | None = None
        self._group: tuple[str, int] | None = None
        self._rows: Iterator[tuple[int, pa.RecordBatch, int]] = iter(())
        self._at = -1

    def read(self, spec: Mapping[str, Json]) -> Raw:
        """One record with its pictures.

        Raises:
            UnusableError: the file is damaged there, or a cell is no picture.
        """
        place = f"{spec['file']}:{spec['number']}"
        try:
            row = self._row(str(spec["file"]), int(str(spec["group"])), int(str(spec["row"])))
        except DAMAGED as error:
            self._group = self._file = None
            raise UnusableError("file_damaged", f"{place}: {error!s:.200}") from error
        raw = self._settings.raw(row)
        return Raw(**{**vars(raw), "origin": {"place": place, **raw.origin}})

    def _row(self, file: str, group: int, row: int) -> Row:
        if self._group != (file, group) or row <= self._at:
            self._rows = self._read(file, group)
            self._group, self._at = (file, group), -1
        for at, batch, number in self._rows:
            self._at = at
            if at == row:
                return row_of(batch, number)
        raise UnusableError("file_damaged", f"{file}: row group {group}: expected row {row}, got its end")

    def _open(self, file: str) -> tuple[Any, Any]:
        """A file and what reads it, kept until another is asked for."""
        if self._file is None or self._file[0] != file:
            opened = self._settings.source.storage.open(file)
            self._file = file, opened, parquet_in(opened)
        return self._file[1:]

    def _read(self, file: str, group: int) -> Iterator[tuple[int, pa.RecordBatch, int]]:
        """(place in the group, rows read at once, place among those)."""
        opened, parquet = self._open(file)
        known = set(parquet.schema_arrow.names)
        columns = sorted({*self._settings.needed, *self._settings.metadata} & known)
        at_once = self._settings.rows_at_once(parquet, opened, file, group, columns, ROWS)
        batches = parquet.iter_batches(at_once, row_groups=[group], columns=columns)
        numbers = ((batch, number) for batch in batches for number in range(batch.num_rows))
        return ((at, batch, number) for at, (batch, number) in enumerate(numbers))


def image_bytes(value: object, name: str) -> bytes:
    """A picture in a cell: plain binary, Hugging Face's {bytes, path}, or base64.

    >>> image_bytes({"bytes": b"abc", "path": None}, "image")
    b'abc'
    >>> image_bytes("data:image/png;base64,YWJj", "image")
    b'abc'

    Raises:
        UnusableError: it is none of them.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value.rpartition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnusableError("undecodable", f"{name}: expected base64, got {value!r:.60}") from error
    raise UnusableError("missing_image", f"{name}: expected a picture's bytes, got {value!r:.60}")


def text_in(value: object, name: str) -> str:
    """A text in a cell, or the first of a list of texts.

    Raises:
        UnusableError: it is something else.
    """
    while isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, str):
        raise UnusableError("bad_metadata", f"{name}: expected text, got {value!r:.80}")
    return value


class HfSettings(ParquetSettings):
    """Settings of `import_parquet`: any parquet with an instruction and pictures.

    `columns: {images: NAME}` names one list whose last picture is the target, instead of `references` (one
    list, or names with commas between) and `target`.
    """

    SOURCE: ClassVar[str] = "parquet"
    NAMES: ClassVar[Mapping[str, str]] = {
        "instruction": "instruction",
        "references": "input_images",
        "target": "output_image",
    }
    ROLES: ClassVar[tuple[str, ...]] = ("instruction", "references", "target", "images", "licence")

    more: tuple[str, ...] = Field(default=(), description="further columns that `where` may ask for")

    @property
    def names(self) -> Mapping[str, str]:
        """Our name of a column: the name in the set."""
        unknown = sorted(set(self.columns) - set(self.ROLES))
        if unknown:
            raise SourceError(f"columns: expected names of {', '.join(self.ROLES)}, got {unknown[0]!r}")
        return {**self.NAMES, **self.columns}

    @property
    def picture_columns(self) -> list[str]:
        """The columns of pictures, the target's last."""
        if "images" in self.names:
            return [self.names["images"]]
        return [*(n.strip() for n in self.names["references"].split(",")), self.names["target"]]

    @property
    def needed(self) -> Sequence[str]:
        """Columns that the files must have."""
        return [self.names["instruction"], *self.picture_columns]

    @property
    def metadata(self) -> Sequence[str]:
        """The text, the licence, and what the recipe adds or asks for."""
        found = [self.names["instruction"], self.names.get("licence", ""), *self.more, *self.where]
        return list(dict.fromkeys(filter(None, found)))

    def licence_in(self, row: Row) -> str:
        """What the licence's column holds, if that is text."""
        licence = row.get(self.names.get("licence", ""))
        return licence if isinstance(licence, str) else ""

    def raw(self, row: Row) -> Raw:
        """A record with its pictures."""
        images: list[bytes] = []
        *references, last = self.picture_columns
        for name in [*(n for n in references if row[n] is not None), last]:
            cell = row[name]
            images += [image_bytes(each, name) for each in (cell if isinstance(cell, list) else [cell])]
        if len(images) < 2:
            raise UnusableError(
                "no_reference", f"expected a reference and a target, got {len(images)} pictures"
            )
        return Raw(
            instruction=text_in(row[self.names["instruction"]], "instruction"),
            images=images,
            licence=self.licence_in(row),
        )
