"""`bakery export`: a finished directory as another trainer or hub reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from datagen.exporters.energon import export_energon
from datagen.exporters.hf import export_hf
from datagen.exporters.kept import ExportError, Kept, Target, kept_of
from datagen.exporters.omnigen2_jsonl import export_jsonl
from datagen.exporters.scone_parquet import SconeOptions, export_scone
from recipes.calibration import Calibration
from recipes.card import card_of, read_calibration
from shards.storage import SCRATCH

Exporter: TypeAlias = Callable[[Kept, Target, SconeOptions, Sequence[Calibration]], list[str]]


def export_directory(
    name: str, to: str, form: str, options: SconeOptions, calibrations: Sequence[Path] = ()
) -> list[str]:
    """Export a directory; return lines for a person.

    Args:
        name: the finished directory, or a selection.
        to: an empty folder or URI.
        form: one of `FORMATS`.
        options: of scone-parquet; the set's name for all.
        calibrations: files of `bakery calibrate --to`, for the card of hf.

    Raises:
        ExportError: the format, the directory, the target or a calibration is none.
    """
    if form not in FORMATS:
        raise ExportError(f"--format: expected one of {', '.join(FORMATS)}, got {form!r}")
    kept = kept_of(name)
    found = [read_calibration(path, kept.chain) for path in calibrations]
    options = options if options.name else replace(options, name=kept.name)
    target = Target(to)
    told = FORMATS[form](kept, target, options, found)
    target.storage.delete(SCRATCH)
    return told


FORMATS: Mapping[str, Exporter] = {
    "scone-parquet": lambda kept, target, options, _: export_scone(kept, target, options),
    "hf": lambda kept, target, options, found: export_hf(kept, target, card_of(kept, options.name, found)),
    "omnigen2-jsonl": lambda kept, target, *_: export_jsonl(kept, target),
    "energon": lambda kept, target, *_: export_energon(kept, target),
}
