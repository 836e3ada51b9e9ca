"""Records that name images by path, whatever the file calls its columns: jsonl, JSON and CSV alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from datagen.importers.paths import Paths
from datagen.importers.records import Record, list_of, text_of
from datagen.importers.source import SourceError
from datagen.unusable import UnusableError
from shards.plan import Refused
from shards.sample import Json


@dataclass(frozen=True)
class RowShape:
    """Which column holds what: role -> name in the file; `references` may be several, with commas between.

    Attributes:
        ROLES: all that there can be.
        NEEDED: those that every row has; without "target" the pictures are references alone.
    """

    ROLES: ClassVar[Sequence[str]] = ("instruction", "references", "target", "task", "case", "licence")
    NEEDED: ClassVar[Sequence[str]] = ("instruction", "references", "target")

    names: Mapping[str, str]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.names) - set(self.ROLES))
        if unknown:
            raise SourceError(f"columns: expected names of {', '.join(self.ROLES)}, got {unknown[0]!r}")

    @property
    def needed(self) -> list[str]:
        """Columns that a record must have."""
        return [name.strip() for role in self.NEEDED for name in self.names[role].split(",")]

    @property
    def mapping(self) -> str:
        """How a recipe maps the needed columns."""
        forms = {"references": "NAME or NAME1,NAME2"}
        return ", ".join(f"{role}: {forms.get(role, 'NAME')}" for role in self.NEEDED)

    def record(self, row: Mapping[str, Any], paths: Paths, place: str, file: str) -> Record:
        """The record of one row.

        Raises:
            UnusableError: the row is none.
        """
        instruction = text_of(row.get(self.names["instruction"]), "instruction")
        references = self._references(row)
        named = [*references, *(row.get(self.names[role]) for role in self.NEEDED if role == "target")]
        images: list[Json] = [paths.locate(path, file) for path in named]
        about: dict[str, Json] = {
            role: str(row[self.names[role]])
            for role in ("task", "case", "licence")
            if row.get(self.names.get(role, role))
        }
        task = {"task": ""} if not _is_task(about.get("task")) else {}
        return Record(
            place=place,
            identity=[
                instruction,
                [_identity(path, found) for path, found in zip(named, images, strict=True)],
            ],
            spec={
                "instruction": instruction,
                "images": images,
                "origin": {"place": place, **_published(about)},
                **about,
                **task,
            },
            columns=_plain(row) | {"references": len(references), "file": file},
            licence=str(about.get("licence", "")),
        )

    def _references(self, row: Mapping[str, Any]) -> Sequence[object]:
        names = [name.strip() for name in self.names["references"].split(",")]
        if len(names) > 1:
            found = [path for name in names if (path := row.get(name)) not in (None, "")]
            if not found:
                raise _no_reference()
            return found
        return _paths_in(row.get(names[0]))


def _identity(path: object, found: Json) -> Json:
    """What tells a picture from others: its file, as two folders may name theirs alike; else its path."""
    return found.get("file", str(path)) if isinstance(found, Mapping) else str(path)


def _is_task(task: object) -> bool:
    """Whether a task is one of SconeEval's; others stay in the origin."""
    return isinstance(task, str) and task.startswith(("composition_", "distinction_"))


def _published(about: Mapping[str, Json]) -> dict[str, Json]:
    return {"task": about["task"]} if "task" in about and not _is_task(about["task"]) else {}


def _paths_in(value: object) -> Sequence[object]:
    """A list of paths; in a CSV's cell as JSON, or with `|` or `;` between."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return list_of(json.loads(value), "references")
        except (ValueError, RecursionError) as error:
            raise UnusableError(
                "bad_metadata", f"references: expected a list of paths, got {value!r:.80}"
            ) from error
    if isinstance(value, str) and ("|" in value or ";" in value):
        return [part.strip() for part in value.replace(";", "|").split("|") if part.strip()]
    if value in (None, "", []):
        raise _no_reference()
    return list_of(value, "references")


def _no_reference() -> UnusableError:
    return UnusableError("no_reference", "expected at least one reference image, got none")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that a condition can be about."""
    return {
        name: value
        for name, value in row.items()
        if value is None or isinstance(value, bool | int | float | str)
    }


@dataclass
class RowReader:
    """Makes records of rows, and knows in the end whether any row had the columns.

    Attributes:
        shape: which column holds what.
        paths: resolves what the rows name.
    """

    shape: RowShape
    paths: Paths
    _first: str = ""
    _is_known: bool = False

    def records(self, rows: Iterable[tuple[str, object]], file: str) -> Iterator[Record | Refused]:
        """Records of a file's rows, given as (place, row)."""
        for place, row in rows:
            try:
                yield self._record(row, place, file)
            except UnusableError as error:
                yield Refused(origin=place, reason=error.reason, detail=str(error))

    def _record(self, row: object, place: str, file: str) -> Record:
        if isinstance(row, UnusableError):
            raise row
        if not isinstance(row, dict):
            raise UnusableError("bad_metadata", f"expected an object, got {row!r:.80}")
        lacking = [name for name in self.shape.needed if name not in row]
        if lacking:
            self._first = self._first or f"{place}: {', '.join(map(str, list(row)[:20]))}"
            raise UnusableError("missing_column", f"expected a column {lacking[0]!r}")
        self._is_known = True
        return self.shape.record(row, self.paths, place, file)

    def check(self) -> None:
        """Raise if rows were read and none had the columns.

        Raises:
            SourceError: telling what there is and how to map it.
        """
        if self._first and not self._is_known:
            raise SourceError(
                f"{self.paths.source.where}: expected columns {', '.join(self.shape.needed)}, got at "
                f"{self._first}; map them with `columns: {{{self.shape.mapping}}}`"
            )
