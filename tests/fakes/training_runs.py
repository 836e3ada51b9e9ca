"""Short training runs of the narrow model of `tests/train/conftest.py`, and what their logs say."""

import json

from train.settings import TrainSettings

BRIDGE = {"relevance_layer": 0, "first_layer": 1, "last_layer": 2, "threshold": 0.05}


def values(data, tiny, out, **changes):
    return {
        "base": str(tiny),
        "out": str(out),
        "data": {"base": [str(data)], "refined": [str(data)]},
        "stages": ["stage1_base"],
        "flavour": "paper",
        "bridge": BRIDGE,
        "budget": 400,
        "packs_per_step": 2,
        "checkpointing": "none",
        "device": "cpu",
        "loaders": 1,
        "validation": {"samples": 2, "every": 100, "images": 1, "image_steps": 3, "times": [0.3, 0.7]},
        "overrides": {"all": {"steps": 10, "warmup_steps": 0, "lr": 3e-3, "data": ["base"]}},
    } | changes


def settings(*arguments, **changes):
    return TrainSettings.model_validate(values(*arguments, **changes))


def lines(out, stage="stage1_base", kind="train"):
    text = (out / stage / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, text) if line["kind"] == kind]


def losses(out, **where):
    return [(line["step"], line["loss"], line["norm"]) for line in lines(out, **where)]


def with_means(data, tiny, out, images):
    """The ten steps of `whole`, means kept of them, looked at every other step."""
    change = {"steps": 10, "warmup_steps": 0, "lr": 3e-3, "data": ["base"], "ema": 0.9}
    looks = {"samples": 2, "every": 2, "images": images, "image_steps": 3, "times": [0.3, 0.7]}
    return values(data, tiny, out, overrides={"all": change}, validation=looks)
