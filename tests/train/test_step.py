"""Training as a step of a recipe: what its directory holds, that it is the same again, and resumed."""

import json
from pathlib import Path

import pytest

from fake_stopping import StopAfter
from shards.driver_step import Input
from shards.manifest import Manifest, read_manifest, verify, write_manifest
from shards.storage import Storage
from train.config import ConfigError
from train.step import StoppedError, TrainConfig

BRIDGE = {"relevance_layer": 0, "first_layer": 1, "last_layer": 2, "threshold": 0.05}
STAGES = ("stage1_base", "stage2_und")


def config(tiny, **changes):
    values = {
        "model": str(tiny),
        "stages": STAGES,
        "flavour": "paper",
        "bridge": BRIDGE,
        "budget": 400,
        "packs_per_step": 2,
        "checkpointing": "none",
        "device": "cpu",
        "loaders": 1,
        "cpu_threads": 1,
        "save_every": 1,
        "validation": {"samples": 2, "every": 2, "images": 1, "image_steps": 3, "times": [0.3, 0.7]},
        "overrides": {
            "all": {"steps": 3, "warmup_steps": 0, "lr": 1e-3},
            "stage2_und": {"data": ["refined"]},
        },
    }
    return TrainConfig.model_validate(values | changes)


def make(config, data, target: Path):
    """The step's directory, finished as the runner would."""
    storage = Storage(str(data))
    manifest = read_manifest(storage)
    given = [Input(storage=storage, manifest=manifest)]
    into = Storage(str(target))
    result = config.make({"base": given, "refined": given, "multi_candidate": []}, into)
    write_manifest(
        into,
        Manifest(
            name="trained", type="train", hash="0" * 64, kind="model", config={}, books=result.books,
            files=result.files,
        ),
    )  # fmt: skip
    return result


def repeatable(folder: Path):
    """What is promised to be the same bytes again."""
    names = [p for p in folder.rglob("*") if p.suffix in (".safetensors", ".png") or p.name == "curves.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


@pytest.fixture(scope="module")
def made(data, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("step") / "trained-000000000000"
    return out, make(config(tiny), data, out)


def test_it_leaves_models_curves_and_pictures_and_a_manifest_of_all(made):
    out, result = made
    curves = json.loads((out / "curves.json").read_text())
    assert [stage["name"] for stage in curves["stages"]] == list(STAGES)
    assert (out / curves["model"] / "model.safetensors").exists()
    first, second = curves["stages"]
    assert [step for step, _ in first["curves"]["loss"]] == [1, 2, 3]
    assert "bridge_keep_frac" not in first["curves"]
    assert {"bridge_relevance", "bridge_keep_frac", "bridge_hidden_frac"} <= set(second["curves"])
    assert {line["step"] for line in second["losses"]} == {2, 3}
    (picture,) = first["pictures"]
    assert [step for step, _ in picture["drawn"]] == [2, 3]
    for name in (picture["given"], *(name for _, name in picture["drawn"])):
        assert name in result.files
    on_disk = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert set(result.files) == on_disk - {"manifest.json"}
    assert not list(out.rglob("checkpoints")), "a finished step has no use for optimizer states"
    storage = Storage(str(out))
    verify(storage, read_manifest(storage), Storage(str(out.parent / "stamps")))


def test_books_count_each_directory_once(made, data):
    _, result = made
    result.books.check("trained")
    assert result.books.used == 20, "one directory, read by both stages"


def test_trained_again_elsewhere_it_is_the_same_bytes(made, data, tiny, tmp_path):
    make(config(tiny), data, tmp_path / "elsewhere")
    again, before = repeatable(tmp_path / "elsewhere"), repeatable(made[0])
    assert len(before) == 2 + 2 * 3 + 1, "two models, two stages' pictures, the curves"
    assert again == before


def test_asked_to_stop_it_is_not_finished_and_goes_on_to_the_same_bytes(
    made, data, tiny, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("train.run.Stopping", lambda: StopAfter(2))
        with pytest.raises(StoppedError, match="run the same command to go on"):
            make(config(tiny), data, out)
    assert not (out / "manifest.json").exists()
    assert len(list(out.rglob("step-0000002"))) == 1
    make(config(tiny), data, out)
    assert repeatable(out) == repeatable(made[0])


def test_the_hash_covers_the_model_by_its_files_and_no_run_setting(tiny, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tiny.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert config(moved).computed() == config(tiny).computed()
    assert config(tiny, save_every=7, loaders=2, checkpointing="full").computed() == config(tiny).computed()
    assert config(tiny, budget=500).computed() != config(tiny).computed()
    (moved / "model.safetensors").write_bytes(b"other")
    assert config(moved).computed() != config(tiny).computed()


def test_inputs_that_a_stage_lacks_are_told_before_anything_is_built(tiny):
    (problem,) = config(tiny).problems_with({"base": ("base",), "refined": ()})
    assert problem.startswith("stage stage2_und: data: expected directories of refined, got none")
    assert not config(tiny).problems_with({"base": ("base",), "refined": ("refined",)})


def test_a_model_that_is_not_there_is_missing_and_no_problem_of_the_recipe(tmp_path):
    absent = config(tmp_path / "nowhere")
    assert "expected a model directory" in absent.missing()[0]
    assert config("tiny").missing() == []
    assert absent.computed()["model"] == "no listing"


def test_an_object_store_is_refused_before_any_training(tiny, data):
    with pytest.raises(ConfigError, match="expected a disk that every rank sees"):
        config(tiny).make({}, Storage("s3://bucket/out?endpoint_override=localhost:1"))
