"""Whole training runs of a narrow model: what they leave, how they resume."""

import base64
import io
import json
import re
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fake_stopping import StopAfter
from train.build import build_model
from train.config import ConfigError
from train.config_files import read_config
from train.flow import pack_loss
from train.loop import train_stage
from train.page import write_page
from train.parallel import World, joined_world
from train.pretrained import load_model, write_tiny
from train.run import prepare, run_stages
from train.settings import TrainSettings
from train.stage_run import open_run
from train.validate import validate
from training_runs import lines, losses, settings, values, with_means

NOTHING = {"samples": 0}


def stop_after(run, steps):
    with joined_world("cpu") as world:
        assert train_stage(run, "stage1_base", Path(run.base), world, StopAfter(steps)) is None


def test_a_run_leaves_log_pictures_and_a_model_that_loads(whole, tiny):
    found = lines(whole)
    assert [line["step"] for line in found] == list(range(1, 11))
    assert found[-1]["loss"] < found[0]["loss"]
    assert {"tokens_per_s", "seconds", "waited_s", "lr", "norm", "host_gb"} <= set(found[0])
    (held,) = lines(whole, kind="held")
    assert {"loss", "loss_t0.3", "loss_t0.7"} <= set(held)
    names = sorted(path.name.partition("-")[0] for path in (whole / "stage1_base/samples").glob("*.png"))
    assert names == ["0000010", "given"]
    model = load_model(whole / "stage1_base/model")
    before = load_model(tiny)
    changed = {
        name
        for name, value in model.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    assert "language_model.model.layers.0.mlp_moe_gen.up_proj.weight" in changed
    assert "language_model.lm_head.weight" in load_file(whole / "stage1_base/model/model.safetensors")
    about = json.loads((whole / "stage1_base/model/bakery.json").read_text())
    assert about["train"]["stage"]["steps"] == 10
    assert about["train"]["versions"]["torch"]


def test_the_page_shows_curves_losses_and_pictures(whole):
    page = (whole / "page.html").read_text()
    assert page.count("<polyline") >= 2
    assert "held out, step 10" in page
    assert "t = 0.3" in page
    assert page.count("data:image/png;base64,") == 2


def test_a_picture_larger_than_the_page_shows_is_scaled_down_in_it(whole, tmp_path):
    shutil.copytree(whole / "stage1_base", tmp_path / "stage1_base")
    pixels = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "stage1_base/samples/0000010-large.png")
    (data,) = re.findall('data:image/jpeg;base64,([^"]+)', write_page(tmp_path, ["stage1_base"]).read_text())
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (432, 288)


def test_a_log_that_a_crash_cut_is_read_and_written_on(whole, data, tiny, tmp_path):
    run = settings(data, tiny, tmp_path)
    stop_after(run, 6)
    log = tmp_path / "stage1_base/log.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    assert run_stages(run) == 0
    assert losses(tmp_path) == [step for step in losses(whole) if step[0] != 6]
    assert "10 steps" in (tmp_path / "page.html").read_text()


def test_the_page_is_there_while_a_stage_trains(data, tiny, tmp_path, monkeypatch):
    def stop(_run):
        raise KeyboardInterrupt

    changes = values(data, tiny, tmp_path)["validation"] | {"every": 4}
    monkeypatch.setattr("train.loop.StageRun.export", stop)
    with pytest.raises(KeyboardInterrupt):
        run_stages(settings(data, tiny, tmp_path, validation=changes))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 4, "what was given, and after 4, 8 and 10 steps"
    assert not list(tmp_path.rglob(".*.partial"))


def test_a_finished_stage_is_not_trained_again(whole, data, tiny):
    before = (whole / "stage1_base/log.jsonl").read_bytes()
    assert run_stages(settings(data, tiny, whole)) == 0
    assert (whole / "stage1_base/log.jsonl").read_bytes() == before


def test_a_finished_stage_of_other_settings_is_not_taken_for_this_run_s(whole, data, tiny):
    change = {**settings(data, tiny, whole).overrides["all"], "lr": 1e-5}
    changed = settings(data, tiny, whole, overrides={"all": change})
    with pytest.raises(
        ConfigError, match=r"stage1_base: stage\.lr: expected .*, got 1e-05; train into another"
    ):
        run_stages(changed)


def two_stages(data, tiny, out):
    change = {"steps": 2, "warmup_steps": 0, "data": ["base"]}
    stages = ["stage1_base", "stage1_refined"]
    return settings(data, tiny, out, stages=stages, overrides={"all": change}, validation=NOTHING)


def test_a_stage_is_let_go_before_the_next_is_built(data, tiny, tmp_path, monkeypatch):
    made, alive = [], []

    def build(*arguments):
        alive.append([model() is not None for model in made])
        found = build_model(*arguments)
        made.append(weakref.ref(found[0]))
        return found

    monkeypatch.setattr("train.stage_run.build_model", build)
    # As on a GPU: FSDP's hooks and its modules hold each other.
    monkeypatch.setattr(World, "is_sharded", True)
    assert run_stages(two_stages(data, tiny, tmp_path)) == 0
    assert alive == [[], [False]]


def test_asked_to_stop_in_a_stages_last_step_the_next_does_not_begin(data, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("train.run.Stopping", lambda: StopAfter(2))
    run = two_stages(data, tiny, tmp_path)
    assert run_stages(run) == 3
    assert (tmp_path / "stage1_base/model").exists()
    assert not (tmp_path / "stage1_refined").exists()
    monkeypatch.undo()
    assert run_stages(run) == 0


@pytest.mark.parametrize(("packs", "calls"), [(1, 1 + 1), (3, 2 + 3)])
def test_the_dearest_pack_is_run_as_it_will_be_with_gradients_to_add_to(
    data, tiny, tmp_path, monkeypatch, packs, calls
):
    counted = []
    monkeypatch.setattr("train.loop.pack_loss", lambda *given: counted.append(1) or pack_loss(*given))
    change = {"steps": 1, "warmup_steps": 0, "data": ["base"]}
    run = settings(data, tiny, tmp_path, packs_per_step=packs, overrides={"all": change}, validation=NOTHING)
    assert run_stages(run) == 0
    assert len(counted) == calls


def test_a_number_of_processes_that_cannot_share_a_step_is_refused(data, tiny, tmp_path):
    with pytest.raises(ConfigError, match="packs_per_step: expected a multiple of the 3 processes"):
        prepare(settings(data, tiny, tmp_path), World(0, 3, torch.device("cpu")))


def test_a_resumed_run_may_find_its_base_elsewhere_but_not_changed(data, tiny, tmp_path):
    run = settings(data, tiny, tmp_path / "out")
    stop_after(run, 1)
    for name, is_changed in (("moved", False), ("changed", True)):
        shutil.copytree(tiny, tmp_path / name)
        if is_changed:
            write_tiny(tmp_path / name, seed=2, config=read_config(tiny))
        again = settings(data, tmp_path / name, tmp_path / "out")
        if is_changed:
            with pytest.raises(ConfigError, match="base: expected"):
                run_stages(again)
        else:
            stop_after(again, 1)


@pytest.mark.parametrize("steps", [1, 6])
def test_stopped_and_resumed_gives_the_same_losses_bit_for_bit(whole, data, tiny, tmp_path, steps):
    run = settings(data, tiny, tmp_path)
    stop_after(run, steps)
    assert len(losses(tmp_path)) == steps
    assert run_stages(run) == 0
    assert losses(tmp_path) == losses(whole)
    name = "stage1_base/model/model.safetensors"
    assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_what_is_measured_and_drawn_is_what_the_export_holds(whole, data, tiny, tmp_path):
    run = TrainSettings.model_validate(with_means(data, tiny, tmp_path, images=1))
    assert run_stages(run) == 0
    assert losses(tmp_path) == losses(whole), "looking at the means leaves no trace in training"
    (raw,), held = lines(whole, kind="held"), lines(tmp_path, kind="held")[-1]
    assert (raw["weights"], held["weights"]) == ("raw", "ema")
    with joined_world("cpu") as world:
        again = settings(data, tmp_path / "stage1_base/model", tmp_path / "again")
        opened = open_run(again, "stage1_base", Path(again.base), world)
        exported = validate(
            opened.model, opened.data.held, lambda place: opened.data.held_batch(place, (0.3, 0.7)),
            opened.encode, (0.3, 0.7), None, world,
        )  # fmt: skip
    assert held["loss"] == pytest.approx(exported["loss"], rel=2e-3)  # the export is in bfloat16
    assert abs(held["loss"] - raw["loss"]) > 5 * abs(held["loss"] - exported["loss"])


def test_how_long_ranks_wait_is_set_before_loading_after_the_first_step_and_before_the_export(
    data, tiny, tmp_path, monkeypatch
):
    told = []
    monkeypatch.setattr(World, "wait_at_most", lambda _world, seconds: told.append(seconds))
    change = {"steps": 2, "warmup_steps": 0, "data": ["base"]}
    run = settings(
        data, tiny, tmp_path, overrides={"all": change}, load_timeout_s=77, step_timeout_s=5,
        validation=NOTHING,
    )  # fmt: skip
    assert run_stages(run) == 0
    assert told == [77, 5, 77]


def test_bfloat16_moments_are_kept_in_checkpoints_and_resumed_bit_for_bit(data, tiny, tmp_path):
    change = {"steps": 4, "warmup_steps": 0, "lr": 3e-3, "data": ["base"]}
    runs = [
        settings(data, tiny, tmp_path / name, moments="bfloat16", overrides={"all": change}) for name in "ab"
    ]
    assert run_stages(runs[0]) == 0
    stop_after(runs[1], 2)
    assert run_stages(runs[1]) == 0
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_a_resumed_run_must_be_the_same_run(data, tiny, tmp_path):
    stop_after(settings(data, tiny, tmp_path), 1)
    with pytest.raises(ConfigError, match="budget: expected 400, got 500; train into another directory"):
        run_stages(settings(data, tiny, tmp_path, budget=500))
    with pytest.raises(ConfigError, match="precision: expected 'bfloat16', got 'float32'"):
        run_stages(settings(data, tiny, tmp_path, precision="float32"))


def test_pictures_are_drawn_of_every_directory(data, tiny, tmp_path, write_directory, samples):
    others = [replace(sample, key=f"other-{sample.key}") for sample in samples]
    other = write_directory(tmp_path / "other-000000000000", others)
    sets = {"base": (str(data),), "refined": (str(other),)}
    change = {"steps": 1, "warmup_steps": 0, "data": ["base", "refined"]}
    looks = {"samples": 2, "images": 2, "image_steps": 2, "times": [0.5]}
    run = settings(data, tiny, tmp_path, overrides={"all": change}, validation=looks)
    assert run_stages(run.model_copy(update={"data": sets})) == 0
    drawn = [path.stem.split("-")[1] for path in (tmp_path / "stage1_base/samples").glob("0*.png")]
    assert sorted(drawn) == ["other", "sample"]


def test_too_small_a_budget_of_any_stage_is_told_before_the_first_is_trained(data, tiny, tmp_path):
    run = settings(data, tiny, tmp_path, budget=150, stages=["stage1_base", "stage1_refined"])
    with pytest.raises(ConfigError) as error:
        run_stages(run)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        f"stage {n}" for n in run.stages
    ]
    assert not (tmp_path / "stage1_base").exists()


def test_stages_follow_each_other_and_the_bridge_is_measured(data, tiny, tmp_path):
    change = {"steps": 3, "warmup_steps": 0, "lr": 1e-3, "data": ["base"]}
    run = settings(
        data,
        tiny,
        tmp_path,
        stages=["stage1_base", "stage2_und"],
        overrides={"all": change},
        checkpointing="full",
    )
    assert run_stages(run) == 0
    first, second = (load_model(tmp_path / name / "model") for name in run.stages)
    changed = {n for n, v in second.state_dict().items() if not torch.equal(v, first.state_dict()[n])}
    assert any("layers.0.mlp.up_proj" in name for name in changed)
    assert not any("_moe_gen" in name or name.startswith(("time_embedder", "vae2llm")) for name in changed)
    found = lines(tmp_path, stage="stage2_und")
    assert all(0 < line["bridge_keep_frac"] < 1 for line in found)
    assert {"bridge_loss", "loss"} <= set(lines(tmp_path, stage="stage2_und", kind="held")[0])


def test_lora_trains_adapters_and_exports_whole_weights(whole, data, tmp_path):
    base = whole / "stage1_base/model"  # in the untrained model the way out is zero, and so is every gradient
    change = {"steps": 3, "warmup_steps": 0, "lr": 1e-2, "data": ["base"], "ema": 0.5}
    run = settings(data, base, tmp_path, lora={"rank": 4, "alpha": 4}, overrides={"all": change})
    assert run_stages(run) == 0
    before, after = load_model(base), load_model(tmp_path / "stage1_base/model")
    changed = {
        n
        for n, v in after.state_dict().items()
        if not torch.equal(v.bfloat16(), before.state_dict()[n].bfloat16())
    }
    assert changed
    assert all(name.endswith("_proj.weight") or "_proj_moe_gen.weight" in name for name in changed)
