"""What the embedded judge reached on subjects and panoramas that it was not fitted on, as vendored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from filters.calibrate import Interval
from filters.embedded import ASSETS
from shards.manifest import Manifest

FILE = ASSETS / "heldout.json"


@dataclass(frozen=True, kw_only=True)
class Area:
    """One measured area under the ROC curve: what of, and on how many samples of each side."""

    name: str
    interval: Interval
    clean: int
    faulty: int


@dataclass(frozen=True, kw_only=True)
class Heldout:
    """A measurement, with the command that makes it again."""

    command: str
    samples: int
    areas: tuple[Area, ...]


def measured(manifests: Iterable[Manifest]) -> Heldout | None:
    """The vendored measurement, if one of the directories was judged by the very judge it is of."""
    value = json.loads(FILE.read_text(encoding="utf-8"))
    judges = [manifest.config.get("settings") for manifest in manifests if manifest.kind == "scores"]
    if not any(
        isinstance(settings, Mapping) and settings.get("judge") == value["judge"] for settings in judges
    ):
        return None
    areas = tuple(_area(name, found) for name, found in value["auc"].items())
    return Heldout(command=value["command"], samples=value["samples"], areas=areas)


def _area(name: str, found: Mapping[str, Any]) -> Area:
    good, bad = found["good"], found["bad"]
    interval = Interval(value=found["value"], low=found["low"], high=found["high"], n=good + bad)
    return Area(name=name, interval=interval, clean=good, faulty=bad)
