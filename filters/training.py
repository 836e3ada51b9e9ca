"""Training runs as the report shows them: curves, held-out losses, pictures; from any directory of models."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError

from shards.storage import Storage

FILE = "curves.json"
SCHEMA = 1
MOST_PICTURES = 4  # samples of a stage
HEIGHT_PX = 160  # of a picture on the page, at most
SPAN = {"bridge_keep_frac": (0.0, 1.0), "bridge_hidden_frac": (0.0, 1.0)}
TITLES = {
    "loss": "training loss",
    "norm": "gradient norm",
    "bridge_relevance": "bridge: mean relevance",
    "bridge_keep_frac": "bridge: share of reference tokens kept",
    "bridge_hidden_frac": "bridge: share of references hidden",
}

Point = tuple[float, float]


class TrainingError(ValueError):
    """A directory of models without what a page needs: *where: expected what, got what; the way out*."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One figure over a stage's steps; `span` is the least and the largest value drawn."""

    title: str
    points: tuple[Point, ...]
    span: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A held-out sample: what it was given and what was drawn, as (caption, data URI)."""

    key: str
    shown: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One stage of a run.

    Attributes:
        facts: what trained, on how much.
        bins: names of the parts of the held-out loss.
        losses: (step, with the bridge or without, a value for each bin or none).
    """

    name: str
    facts: str
    curves: tuple[Curve, ...]
    bins: tuple[str, ...]
    losses: tuple[tuple[int, str, tuple[float | None, ...]], ...]
    drawings: tuple[Drawing, ...]

    @property
    def last_losses(self) -> tuple[tuple[int, str, tuple[float | None, ...]], ...]:
        """Held-out losses of the first and the last step that were measured."""
        steps = {step for step, _, _ in self.losses}
        return tuple(row for row in self.losses if row[0] in (min(steps), max(steps)))


def samples_read(storage: Storage) -> int:
    """Samples that a run's stages took from its inputs, each once."""
    return int(_read(storage)["read"])


def stages(storage: Storage) -> list[Trained]:
    """The stages of a run, in order.

    Raises:
        TrainingError: `curves.json` is not there, or is not ours.
    """
    value = _read(storage)
    try:
        return [_stage(storage, each) for each in value["stages"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(storage, error) from error


def _read(storage: Storage) -> Mapping[str, Any]:
    try:
        value = json.loads(storage.read(FILE))
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(storage, error) from error
    found: Mapping[str, Any] = value
    return found


def _broken(storage: Storage, error: Exception) -> TrainingError:
    return TrainingError(
        f"{storage.path(FILE)}: expected a training run's curves of schema {SCHEMA}, got {error}; "
        "delete the directory to train it again"
    )


def _stage(storage: Storage, value: Mapping[str, Any]) -> Trained:
    bins = tuple(dict.fromkeys(name for line in value["losses"] for name in line if name.startswith("loss")))
    bridge = f", bridge: {value['bridge']}" if value["bridge"] else ""
    return Trained(
        name=str(value["name"]),
        facts=(
            f"{value['steps']:,} steps of up to {value['tokens_a_step']:,} tokens on {value['training']:,} "
            f"samples, {value['held']:,} more held out; trained: {', '.join(value['trains'])}{bridge}"
        ),
        curves=tuple(_curves(value["curves"])),
        bins=bins,
        losses=tuple(row for line in value["losses"] for row in _losses(line, bins)),
        drawings=tuple(_drawing(storage, each) for each in value["pictures"][:MOST_PICTURES]),
    )


def _curves(curves: Mapping[str, Sequence[Sequence[float]]]) -> Iterable[Curve]:
    for name, title in TITLES.items():
        points = tuple((float(x), float(y)) for x, y in curves.get(name, ()))
        if len(points) > 1:
            values = [y for _, y in points]
            yield Curve(title=title, points=points, span=SPAN.get(name, (min(values), max(values))))


def _losses(
    line: Mapping[str, Any], bins: Sequence[str]
) -> Iterable[tuple[int, str, tuple[float | None, ...]]]:
    for words, prefix in (("without the bridge", ""), ("with the bridge", "bridge_")):
        values = tuple(_number(line.get(f"{prefix}{name}")) for name in bins)
        if any(value is not None for value in values):
            yield int(line["step"]), words, values


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def bin_words(name: str) -> str:
    """What a part of the held-out loss is called.

    >>> bin_words("loss"), bin_words("loss_t0.3"), bin_words("loss_refs2")
    ('all', 't = 0.3', '2 references')
    """
    if name.startswith("loss_refs"):
        count = name.removeprefix("loss_refs")
        return f"{count} reference{'s' if count != '1' else ''}"
    return f"t = {name.removeprefix('loss_t')}" if name.startswith("loss_t") else "all"


def _drawing(storage: Storage, value: Mapping[str, Any]) -> Drawing:
    shown = [("references, target", value["given"])] if value["given"] else []
    shown += [(f"after step {step}", name) for step, name in value["drawn"]]
    return Drawing(
        key=str(value["key"]), shown=tuple((words, _uri(storage, str(name))) for words, name in shown)
    )


def _uri(storage: Storage, name: str) -> str:
    """A picture no higher than `HEIGHT_PX`, as a data URI."""
    try:
        image: Image.Image = Image.open(io.BytesIO(storage.read(name)), formats=("PNG",))
        image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{storage.uri}: {name}: expected a PNG of the run, got {error}") from error
    if image.height > HEIGHT_PX:
        image = image.resize((max(1, round(image.width * HEIGHT_PX / image.height)), HEIGHT_PX))
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
