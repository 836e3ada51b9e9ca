"""Subjects200K: parquet of two pictures in one, cut apart to the pixel; its assessments may be null."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from datagen.cleaning import encode_png, extension_of
from datagen.importers.parquet import ParquetSettings, Row, image_bytes, text_in
from datagen.importers.stage import Raw
from datagen.unusable import UnusableError
from shards.image import ImageError, load_image
from shards.sample import Candidate, EncodedImage

# Source: facts/data.md 4. The composite's size, and where its two pictures are: left, top, right, bottom.
SIZE = (1056, 528)
LEFT, RIGHT = (8, 8, 520, 520), (528, 8, 1040, 520)
HIGH = 5
ASSESSED = ("compositeStructure", "objectConsistency", "imageQuality")


class Subjects200kSettings(ParquetSettings):
    """Settings of `import_subjects200k`.

    `where: {hq: true}` takes what the publishers call high quality: all three assessments at least 5. A null
    assessment is never high quality.
    """

    SOURCE: ClassVar[str] = "Subjects200K"
    LICENCE: ClassVar[str] = "apache-2.0"

    files: tuple[str, ...] = Field(
        default=("*train-*.parquet",), min_length=1, description="patterns of the files"
    )
    is_swapped: bool = Field(
        default=False, description="the right picture is the reference, the left the target"
    )

    @property
    def needed(self) -> Sequence[str]:
        """Columns that the files must have."""
        return [self.columns.get(name, name) for name in ("image", "description")]

    @property
    def metadata(self) -> Sequence[str]:
        """All but the picture."""
        names = ("collection", "quality_assessment", "description")
        return [self.columns.get(name, name) for name in names]

    def about(self, row: Row) -> dict[str, Any]:
        """Assessments and descriptions as plain columns."""
        assessed = _struct(row, self.columns.get("quality_assessment", "quality_assessment"))
        described = _struct(row, self.columns.get("description", "description"))
        marks = [assessed.get(name) for name in ASSESSED]
        return {
            **dict(zip(ASSESSED, marks, strict=True)),
            "hq": all(isinstance(mark, int) and mark >= HIGH for mark in marks),
            "collection": row.get(self.columns.get("collection", "collection")),
            "category": described.get("category"),
            "item": described.get("item"),
            "valid": described.get("description_valid"),
        }

    def raw(self, row: Row) -> Raw:
        """The two pictures as PNG, with the composite's hash."""
        composite = image_bytes(row[self.columns.get("image", "image")], "image")
        left, right = cut(composite)
        described = _struct(row, self.columns.get("description", "description"))
        words = text_in(described.get("description_0" if self.is_swapped else "description_1"), "description")
        item = described.get("item") if isinstance(described.get("item"), str) else ""
        sha256 = hashlib.sha256(composite).hexdigest()
        boxes = (RIGHT, LEFT) if self.is_swapped else (LEFT, RIGHT)
        return Raw(
            instruction=words,
            images=[right, left] if self.is_swapped else [left, right],
            changed={n: {"sha256": sha256, "changed": f"cut out at {box}"} for n, box in enumerate(boxes)},
            subjects=[[Candidate(name=item, category=str(described.get("category") or ""))] if item else []],
            case="object",
        )


def cut(composite: bytes) -> tuple[bytes, bytes]:
    """The left and the right picture of a composite, as PNG.

    Raises:
        UnusableError: it cannot be decoded, or is not of the one size whose layout is known.
    """
    try:
        pixels = load_image(EncodedImage(composite, extension_of(composite)))
    except ImageError as error:
        raise UnusableError(error.reason, f"image: {error}") from error
    if pixels.size != SIZE:
        raise UnusableError("unknown_layout", f"image: expected a composite of {SIZE}, got {pixels.size}")
    left, right = (encode_png(pixels.crop(box)).data for box in (LEFT, RIGHT))
    return left, right


def _struct(row: Row, name: str) -> Mapping[str, Any]:
    value = row.get(name)
    return value if isinstance(value, Mapping) else {}
