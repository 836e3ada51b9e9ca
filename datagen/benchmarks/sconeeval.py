"""SconeEval: `data.jsonl` beside its pictures; distinction cases list every candidate of each reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

from datagen.benchmarks.cases import Benchmark, CaseShape
from datagen.importers.files import FileReader
from datagen.importers.jsonl import json_rows
from datagen.importers.paths import Paths
from datagen.importers.records import Record
from datagen.importers.rows import RowReader
from datagen.unusable import UnusableError
from shards.plan import Refused
from shards.sample import Json

# Source: facts/data.md 3.1, the released scorer and sampler.
NAMES = {
    "key": "key",
    "instruction": "instruction",
    "references": "input_images",
    "task": "task_type",
    "case": "case_type",
    "licence": "licence",
    "subjects": "subject_list",
    "labels": "subject_label",
}
ONE_IMAGE = "input_image"  # what a row may have instead of `input_images`
COMPOSITION = ("composition_single", "composition_multi")
DISTINCTION = tuple(f"distinction_{n}_{kind}" for n in ("single", "multi") for kind in ("cross", "intra"))
TASKS = (*COMPOSITION, *DISTINCTION)


class SconeEval(Benchmark):
    """The benchmark of the paper."""

    FILES: ClassVar[Sequence[Sequence[str]]] = (("data.jsonl", "*/data.jsonl"),)

    def cases(self) -> Iterator[Record | Refused]:
        """A case a line."""
        shape = SconeEvalShape({**NAMES, **self.settings.columns})
        reader = RowReader(shape, self.settings.paths)
        for file in self.files:
            rows = json_rows(self.settings.source, file)
            yield from reader.records(((place, shape.with_images(row)) for place, row in rows), file)
        reader.check()

    def reader(self) -> FileReader:
        """Reads files and spilt members."""
        return FileReader(self.settings.source, self.settings.scratch)


class SconeEvalShape(CaseShape):
    """The columns of a case, with its candidates."""

    ROLES: ClassVar[Sequence[str]] = (*CaseShape.ROLES, "subjects", "labels")

    def with_images(self, row: object) -> object:
        """A row whose one image has a column of its own, as rows of several have them."""
        name = self.names["references"]
        if isinstance(row, dict) and name not in row and ONE_IMAGE in row:
            return {**row, name: row[ONE_IMAGE]}
        return row

    def record(self, row: Mapping[str, Any], paths: Paths, place: str, file: str) -> Record:
        """The record of one row.

        Raises:
            UnusableError: the row is none.
        """
        record = super().record(row, paths, place, file)
        task = row[self.names["task"]]
        if task not in TASKS:
            raise UnusableError(
                "unknown_task", f"{self.names['task']}: expected one of {', '.join(TASKS)}, got {task!r:.60}"
            )
        references = cast("Sequence[Json]", record.spec["images"])
        names, labels = (row.get(self.names[role]) for role in ("subjects", "labels"))
        if task in COMPOSITION and not names and not labels:
            return record
        candidates = pair(names, labels, len(references))
        return replace(record, spec={**record.spec, "candidates": candidates})


def pair(names: object, labels: object, references: int) -> Json:
    """Per reference its candidates, as [name, whether the target is to show it].

    >>> pair([["a red fox", "a dog"], []], [[1, 0], []], 2)
    [[['a red fox', True], ['a dog', False]], []]

    Raises:
        UnusableError: the labels are not one for each name, or the lists not one for each reference.
    """
    words, marks = (_lists(value, f"subject_{name}") for name, value in (("list", names), ("label", labels)))
    shapes = [list(map(len, each)) for each in (words, marks)]
    if shapes[0] != shapes[1] or len(words) != references:
        raise UnusableError(
            "subject_mismatch",
            f"subject_list, subject_label: expected a list for each of {references} references, and a label "
            f"for each subject, got lists of {shapes[0]} subjects and {shapes[1]} labels",
        )
    if not any(words):
        raise UnusableError("subject_mismatch", "subject_list: expected a candidate, got none")
    return [
        [_candidate(*both) for both in zip(*each, strict=True)] for each in zip(words, marks, strict=True)
    ]


def _lists(value: object, name: str) -> list[list[object]]:
    if not isinstance(value, list) or not all(isinstance(each, list) for each in value):
        raise UnusableError("subject_mismatch", f"{name}: expected a list a reference, got {value!r:.80}")
    return value


def _candidate(name: object, label: object) -> Json:
    if not isinstance(name, str) or not name.strip():
        raise UnusableError("bad_metadata", f"subject_list: expected words, got {name!r:.60}")
    if label not in (0, 1):
        raise UnusableError("bad_metadata", f"subject_label: expected 0 or 1, got {label!r:.60}")
    return [name.strip(), bool(label)]
