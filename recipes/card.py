"""What a card tells beyond the data: a picture, the rubric, thresholds, how the judge was checked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import yaml
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from datagen.exporters.hf import Card
from datagen.exporters.kept import ExportError, Kept
from filters.heldout import measured
from filters.rubrics import RubricError, pick_questions
from filters.select import SelectConfig
from recipes.calibration import Calibration, control_scores, describe
from recipes.sheet import contact_sheet
from shards.manifest import Manifest

SHOWN = 4  # samples on the picture


def card_of(kept: Kept, title: str, calibrations: Sequence[Calibration]) -> Card:
    """The card of an export."""
    judges = [manifest for manifest in kept.chain if manifest.type == "judge"]
    return Card(
        title=title,
        picture=_picture(kept),
        rubric={name: text for judge in judges for name, text in _rubric(judge).items()},
        thresholds=[line for manifest in kept.chain for line in _thresholds(manifest)],
        calibration=list(_calibration(kept, judges, calibrations)),
    )


def read_calibration(path: Path, chain: Sequence[Manifest]) -> Calibration:
    """A file of `bakery calibrate --to`.

    Raises:
        ExportError: it is none, or of a step that the export was not made from.
    """
    try:
        found = TypeAdapter(Calibration).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ExportError(
            f"{path}: expected a file of `bakery calibrate --to`, got {str(error).splitlines()[0]}"
        ) from error
    judged = [manifest.name for manifest in chain if manifest.type == "judge"]
    if found.step not in judged:
        raise ExportError(
            f"{path}: expected a calibration of {' or '.join(judged) or 'a judged step'}, got one of "
            f"{found.step!r}; export what was made from that step, or leave it out"
        )
    return found


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


def _thresholds(manifest: Manifest) -> Iterator[str]:
    """What a selection asked of scores, but for what it left as it is."""
    if manifest.type != "select":
        return
    usual = SelectConfig.model_construct().model_dump(mode="json")
    asked = {name: value for name, value in _settings(manifest).items() if value != usual.get(name)}
    words = yaml.safe_dump(asked, default_flow_style=True, sort_keys=True, width=1 << 20).strip()
    yield f"`{manifest.name}`: {words}, kept {manifest.books.made} of {manifest.books.read}."


def _calibration(
    kept: Kept, judges: Sequence[Manifest], calibrations: Sequence[Calibration]
) -> Iterator[str]:
    for judge in judges:
        identity = cast("Mapping[str, Any]", _settings(judge).get("judge") or {})
        words = ", ".join(f"{name} {value}" for name, value in identity.items()) or "a judge it does not name"
        yield f"`{judge.name}` scored {judge.books.made} samples with {words}."
        given = [found for found in calibrations if found.step == judge.name]
        for found in given:
            yield from (line.strip() for line in describe(found))
        if not any(found.controls for found in given):
            yield from _controls(kept, judge)
    if heldout := measured(judges):
        yield f"Held out, {heldout.samples} rendered samples (`{heldout.command}`), area under the ROC curve:"
        for area in heldout.areas:
            low, high = area.interval.low, area.interval.high
            yield f"{area.name} {area.interval.value:.3f} ({low:.3f} to {high:.3f})"
    elif judges and not calibrations:
        yield "Not calibrated: nobody measured this judge against truth or people (`bakery calibrate`)."


def _controls(kept: Kept, judge: Manifest) -> Iterator[str]:
    """What the judge said of the controls that were judged beside the set."""
    scores = kept.storage.sibling(judge.directory)
    names = cast("list[str]", _settings(judge).get("questions") or [])
    yield from describe(Calibration(step=judge.name, controls=list(control_scores(scores, names))))


def _settings(manifest: Manifest) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", manifest.config.get("settings", {}))
