"""`bakery export`: a finished directory as another trainer or hub reads it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias, cast

from PIL import Image

from datagen.exporters.energon import export_energon
from datagen.exporters.hf import Card, export_hf
from datagen.exporters.kept import ExportError, Kept, Target, kept_of
from datagen.exporters.omnigen2_jsonl import export_jsonl
from datagen.exporters.scone_parquet import SconeOptions, export_scone
from filters.rubrics import RubricError, pick_questions
from recipes.sheet import contact_sheet
from shards.manifest import Manifest

Exporter: TypeAlias = Callable[[Kept, Target, SconeOptions], list[str]]
SHOWN = 4  # samples on a card's picture


def export_directory(name: str, to: str, form: str, options: SconeOptions) -> list[str]:
    """Export a directory; return lines for a person.

    Raises:
        ExportError: the format, the directory or the target is none.
    """
    if form not in FORMATS:
        raise ExportError(f"--format: expected one of {', '.join(FORMATS)}, got {form!r}")
    kept = kept_of(name)
    if not len(kept):
        raise ExportError(f"{name}: expected samples to export, got none; look at its rejects")
    options = options if options.name else replace(options, name=kept.name)
    return FORMATS[form](kept, Target(to), options)


def _hf(kept: Kept, target: Target, options: SconeOptions) -> list[str]:
    judges = [manifest for manifest in kept.chain if manifest.type == "judge"]
    card = Card(
        title=options.name,
        picture=_picture(kept),
        rubric={name: text for judge in judges for name, text in _rubric(judge).items()},
        calibration=[line for judge in judges for line in _calibration(judge)],
    )
    return export_hf(kept, target, card)


def _picture(kept: Kept) -> bytes:
    """The first samples as sheets, one under the other."""
    table = kept.index.slice(0, SHOWN)
    places = zip(table.column("shard").to_pylist(), table.column("row").to_pylist(), strict=True)
    sheets = [contact_sheet(kept.directory.sample(shard, row)) for shard, row in islice(places, SHOWN)]
    whole = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    sink = io.BytesIO()
    whole.save(sink, "PNG")
    return sink.getvalue()


def _rubric(judge: Manifest) -> dict[str, str]:
    names = cast("list[str]", _settings(judge).get("questions") or [])
    try:
        return {question.id: question.text for question in pick_questions(names)}
    except RubricError:  # a rubric of the user's own file: its names are in the recipe below
        return dict.fromkeys(names, "see the recipe")


def _calibration(judge: Manifest) -> list[str]:
    identity = cast("Mapping[str, Any]", _settings(judge).get("judge") or {})
    words = ", ".join(f"{name} {value}" for name, value in identity.items()) or "a judge it does not name"
    return [f"`{judge.name}` scored {judge.books.made} samples with {words}."]


def _settings(manifest: Manifest) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", manifest.config.get("settings", {}))


FORMATS: Mapping[str, Exporter] = {
    "scone-parquet": export_scone,
    "hf": _hf,
    "omnigen2-jsonl": lambda kept, target, _: export_jsonl(kept, target),
    "energon": lambda kept, target, _: export_energon(kept, target),
}
