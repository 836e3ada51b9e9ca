"""UNO-1M: pairs of one subject in tar.gz splits; published scores are recomputed, as many are polluted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from datagen.importers.files import FileReader
from datagen.importers.records import Record, text_of
from datagen.importers.settings import ArchiveSettings
from datagen.importers.source import SourceError
from datagen.unusable import UnusableError
from shards.plan import Refused

LABELS = "labels/split*.json"
HIGHEST = 4.0
NEEDED = frozenset(("img_path1", "img_path2", "caption"))
# Source: facts/data.md 4: "# Output": 8.5 and "Record Number" are the judge's text, not its scores.
DIMENSION = re.compile(r"[A-Za-z][A-Za-z '’&/,()-]{1,60}")
NO_DIMENSION = ("record", "number", "output", "score", "final", "total", "average", "step", "image", "index")


class Uno1mSettings(ArchiveSettings):
    """Settings of `import_uno_1m`.

    `where: {score: {min: 3.5}}` reads the recomputed score; the published one is `score_published`.
    """

    SOURCE: ClassVar[str] = "UNO-1M"
    LICENCE: ClassVar[str] = "apache-2.0"

    dimensions: tuple[str, ...] = Field(
        default=(),
        description="dimensions whose scores count; every one that reads as a dimension unless set",
    )

    def check(self) -> None:
        """As for archives, and there are labels of splits."""
        super().check()
        self.source.some(LABELS)

    def records(self) -> Iterator[Record | Refused]:
        """A record a pair, a split of labels in memory at a time."""
        for file in sorted(self.source.some(LABELS), key=_split_number):
            try:
                rows = self.source.json_list(file)
            except UnusableError as error:
                yield Refused(origin=file, reason=error.reason, detail=str(error))
                continue
            _check_columns(f"{self.source.where}: {file}", rows)
            for number, row in enumerate(rows):
                yield self._record(f"{file}:{number}", row)

    def _record(self, place: str, row: Any) -> Record | Refused:  # noqa: ANN401, any JSON
        try:
            return self._pair(place, row)
        except UnusableError as error:
            return Refused(origin=place, reason=error.reason, detail=str(error))

    def _pair(self, place: str, row: Any) -> Record:  # noqa: ANN401, any JSON
        if not isinstance(row, dict) or not isinstance(row.get("caption"), dict):
            raise UnusableError("bad_metadata", f"expected a pair with captions, got {row!r:.80}")
        caption, judged = row["caption"], row.get("vlm_filter_cot")
        paths = [text_of(row.get(name), name) for name in ("img_path1", "img_path2")]
        parts = recomputed(judged.get("score_part") if isinstance(judged, dict) else None, self.dimensions)
        score = sum(parts.values()) / len(parts) if parts else None
        published = judged.get("score_final") if isinstance(judged, dict) else None
        instruction = text_of(caption.get("img_path2"), "caption.img_path2")
        return Record(
            place=place,
            identity=paths,
            spec={
                "instruction": instruction,
                "images": [self.paths.locate(path) for path in paths],
                "origin": {"place": place, "scores": {"uno": score}, "score_part": dict(parts)},
                "subjects": [_subjects(caption)],
            },
            columns={
                "score": score,
                "score_published": published if isinstance(published, int | float) else None,
                "judgment": caption.get("judgment"),
                "split": _split_number(place.rpartition(":")[0]),
            },
        )

    def reader(self) -> FileReader:
        """Reads spilt members."""
        return FileReader(self.source, self.scratch)


def _split_number(file: str) -> int:
    digits = re.sub(r"\D", "", file.rpartition("/")[2])
    return int(digits[:9]) if digits else 0


def _check_columns(where: str, rows: Sequence[object]) -> None:
    """Raise where no record has what a pair must have; a few that lack it are refused one by one."""
    objects = [row for row in rows if isinstance(row, dict)]
    if objects and not any(row.keys() >= NEEDED for row in objects):
        raise SourceError(
            f"{where}: expected records with {', '.join(sorted(NEEDED))}, got {', '.join(objects[0])}; "
            "use `import_jsonl` with `columns:` for another layout"
        )


def recomputed(parts: object, whitelist: Sequence[str] = ()) -> dict[str, float]:
    """Scores by dimension, each in 0..4; what reads as no dimension is left out.

    >>> recomputed({"Shape": 3, "Colour": 5, "# Output": 8.5, "Record Number": 262365, "Logo": "n/a"})
    {'Shape': 3.0, 'Colour': 4.0}
    """
    if not isinstance(parts, Mapping):
        return {}
    return {
        str(name): min(max(float(value), 0.0), HIGHEST)
        for name, value in parts.items()
        if _is_dimension(str(name), whitelist) and _is_number(value)
    }


def _is_dimension(name: str, whitelist: Sequence[str]) -> bool:
    if whitelist:
        return name in whitelist
    return bool(DIMENSION.fullmatch(name)) and not set(name.lower().split()) & set(NO_DIMENSION)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _subjects(caption: Mapping[str, Any]) -> list[str]:
    found = caption.get("subject")
    names = found if isinstance(found, list) else [found]
    return [name for name in names if isinstance(name, str) and name.strip()][:1]
