"""Echo-4o-Image: jsonl beside tar.gz, folders as they are misspelt, keys that repeat across archives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from datagen.importers.jsonl import JsonlSettings
from datagen.importers.records import Record
from shards.plan import Refused

# Source: facts/data.md 4: categories are named by their inputs.
WORDS = {"hum": "character", "obj": "object", "sce": "scene", "human": "character", "sence": "scene"}
ORDER = ("character", "object", "scene")


class Echo4oSettings(JsonlSettings):
    """Settings of `import_echo_4o`.

    `where: {folder: Multi-Reference-Image}` takes the part with several references; the instruction-following
    part has none, and its records are refused as such.
    """

    SOURCE: ClassVar[str] = "Echo-4o-Image"
    LICENCE: ClassVar[str] = "mit"

    files: tuple[str, ...] = Field(
        default=("*Multi-Reference-Image/*.jsonl", "*Surrel-Fantasy-Image/*.jsonl"),
        min_length=1,
        description="patterns of the jsonl files",
    )

    def records(self) -> Iterator[Record | Refused]:
        """A record a line, with its folder and category to choose by."""
        for record in super().records():
            if isinstance(record, Refused):
                yield record
                continue
            *folders, name = record.place.rpartition(":")[0].split("/")
            category = name.removesuffix(".jsonl")
            parts = [
                folder for folder in folders if folder != self.SOURCE
            ]  # the set's own may stand in front
            columns = {**record.columns, "folder": parts[0] if parts else "", "category": category}
            spec = {**record.spec, "case": record.spec.get("case") or case_of(category)}
            yield replace(record, columns=columns, spec=spec)


def case_of(category: str) -> str:
    """The case type that a category's name tells.

    >>> case_of("hum_obj_sce"), case_of("conflict")
    ('character+object+scene', '')
    """
    kinds = {WORDS[word] for word in category.lower().split("_") if word in WORDS}
    return "+".join(kind for kind in ORDER if kind in kinds)
