"""Curves: what a page shows of a training run, as one JSON file that says nothing of when or how fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from train.page import GIVEN, read_log
from train.settings import Training

FILE = "curves.json"
SCHEMA = 1
CURVES = ("loss", "norm", "lr", "bridge_relevance", "bridge_keep_frac", "bridge_hidden_frac")


def write_curves(out: Path, settings: Training) -> dict[str, int]:
    """Write `curves.json` over all stages of a finished run; return how many samples each directory gave.

    For each stage: what it trained, its curves by name as (step, value), its held-out losses, and of some
    held-out samples the picture as given (references, then the target) and as drawn after so many steps.
    """
    stages = [_stage(out, settings, name) for name in settings.stages]
    read = {name: count for stage in stages for name, count in stage["directories"].items()}
    model = f"{settings.stages[-1]}/model"
    value = {"schema": SCHEMA, "model": model, "read": sum(read.values()), "stages": stages}
    (out / FILE).write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    return read


def _stage(out: Path, settings: Training, name: str) -> dict[str, Any]:
    stage, log = settings.stage(name), read_log(out / name / "log.jsonl")
    lines, data = log["train"], log["data"][-1]
    return {
        "name": name,
        "trains": list(stage.trains),
        "bridge": stage.bridge,
        "steps": stage.steps,
        "tokens_a_step": settings.budget * settings.packs_per_step,
        **{key: data[key] for key in ("training", "held", "directories")},
        "curves": {key: points for key in CURVES if (points := _points(lines, key))},
        "losses": [
            {key: value for key, value in line.items() if key != "kind"} for line in log.get("held", ())
        ],
        "pictures": _pictures(out, name),
    }


def _points(lines: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(line["step"], line[name]) for line in lines if line.get(name) is not None]


def _pictures(out: Path, stage: str) -> list[dict[str, Any]]:
    """Of each held-out sample what it was given and what was drawn, as files of the run."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((out / stage / "samples").glob("*.png")):
        step, _, key = path.stem.partition("-")
        about = found.setdefault(key, {"key": key, "given": None, "drawn": []})
        name = str(path.relative_to(out))
        if step == GIVEN:
            about["given"] = name
        else:
            about["drawn"].append((int(step), name))
    return [found[key] for key in sorted(found)]
