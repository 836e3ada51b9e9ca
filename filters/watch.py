"""Watching a judge: whether its controls score as they must, and what its answers cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.calibrate import auc
from filters.controls import KINDS, read_controls
from filters.distributions import Floats, Histogram, all_scores, histogram_of, worst_by_key
from shards.manifest import Manifest
from shards.storage import Storage

Side = Literal["below", "above"]

# On which side of the set a control must score. A copied reference does show its subject, so only the
# question about copies must see it; a grey target shows nothing; another sample's references are not in it.
MUST: Mapping[tuple[str, str], Side] = {
    ("blank", "consistency"): "below",
    ("blank", "instruction_following"): "below",
    ("blank", "presence"): "below",
    ("blank", "identity"): "below",
    ("swapped", "consistency"): "below",
    ("swapped", "presence"): "below",
    ("swapped", "identity"): "below",
    ("copy", "copy_paste"): "above",
}
# A judge that tells nothing apart has an area of 0.5, one that is any use 0.9 and up; sets hold bad samples
# too, which score as controls do. Of fewer than 4 controls chance alone decides.
LEAST_AREA = 0.75
FEWEST = 4

COSTS: Mapping[str, str] = {
    "requests": "Requests",
    "retries": "Retries",
    "prompt_tokens": "Prompt tokens",
    "cached_tokens": "of them cached",
    "completion_tokens": "Completion tokens",
    "seconds": "Seconds",
    "worker_s": "Seconds of workers",
}
TIMES = ("seconds", "worker_s")


@dataclass(frozen=True, kw_only=True)
class Control:
    """One question's answers on one kind of control beside those on the set.

    Attributes:
        question: asked.
        kind: of control.
        words: what was done to the samples.
        n: controls with a readable answer.
        mean: of their expected values, each by its worst row.
        of_the_set: the same of the set.
        area: how often a sample of the set and a control stand as they must; None where they need not.
        side: on which side of the set it must be.
        histogram: of the set and of the controls.
    """

    question: str
    kind: str
    words: str
    n: int
    mean: float
    of_the_set: float
    area: float | None
    side: Side | None
    histogram: Histogram

    @property
    def is_alarming(self) -> bool:
        """Whether the judge does not tell the set from what was spoilt.

        >>> drawn = Histogram(name="consistency", span=(0, 4), parts={})
        >>> told = {"question": "consistency", "kind": "blank", "words": "grey", "side": "below"}
        >>> told |= {"histogram": drawn}
        >>> blind = Control(**told, n=16, mean=4, of_the_set=4, area=0.5)
        >>> sound = Control(**told, n=16, mean=0.1, of_the_set=3.6, area=0.97)
        >>> blind.is_alarming, sound.is_alarming
        (True, False)
        """
        return self.area is not None and self.area < LEAST_AREA and self.n >= FEWEST


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A judged step: its controls, and its cost as (heading, number); either may be empty."""

    label: str
    controls: tuple[Control, ...]
    costs: tuple[tuple[str, float], ...]
    faults: tuple[tuple[str, int], ...]

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """Of each control that must be seen."""
        return tuple(control.histogram for control in self.controls if control.side)

    @property
    def alarms(self) -> tuple[Control, ...]:
        """Controls that the judge does not see."""
        return tuple(control for control in self.controls if control.is_alarming)


def watch(label: str, storage: Storage, manifest: Manifest) -> Watched:
    """How a judged step did."""
    counts = manifest.stats.get("counts", {})
    numbers = counts.items() if isinstance(counts, Mapping) else ()
    counted = {name: float(count) for name, count in numbers if isinstance(count, int | float)}
    if counted:
        counted |= {name: float(str(manifest.stats[name])) for name in TIMES if name in manifest.stats}
    return Watched(
        label=label,
        controls=tuple(_controls(storage)),
        costs=tuple((words, counted[name]) for name, words in COSTS.items() if name in counted),
        faults=tuple((name, int(count)) for name, count in sorted(counted.items()) if ":" in name),
    )


def _controls(storage: Storage) -> Iterator[Control]:
    table = read_controls(storage)
    if table is None:
        return
    for question, score in all_scores(storage).items():
        own = score.low[np.isfinite(score.low)]
        for kind, words in KINDS.items():
            spoilt = _worst(table, question, kind)
            if not len(own) or not len(spoilt):
                continue
            side = MUST.get((kind, question))
            yield Control(
                question=question,
                kind=kind,
                words=words,
                n=len(spoilt),
                mean=float(spoilt.mean()),
                of_the_set=float(own.mean()),
                area=_area(own, spoilt, side),
                side=side,
                histogram=histogram_of(f"{question}, {kind}", {"set": own, "controls": spoilt}, score.span),
            )


def _area(own: Floats, spoilt: Floats, side: Side | None) -> float | None:
    if side is None:
        return None
    return auc(own, spoilt) if side == "below" else auc(spoilt, own)


def _worst(table: pa.Table, question: str, kind: str) -> Floats:
    """The least expected value of each control with a readable answer."""
    is_wanted = pc.and_(pc.equal(table.column("question"), question), pc.equal(table.column("control"), kind))
    rows = (
        table.filter(is_wanted)
        .select(["key", "expected", "status"])
        .rename_columns(["key", "value", "status"])
    )
    return worst_by_key(question, rows)
