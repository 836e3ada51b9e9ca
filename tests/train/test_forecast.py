"""What a stage will take, told by `bakery check` before anything is loaded. Bytes: see `test_ranks.py`."""

import json
from itertools import islice

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models

from command_line import bakery
from train.config import BAGEL_7B, ConfigError
from train.config_files import config_sidecars
from train.flops import pack_flops
from train.forecast import disk_bytes, forecasts
from train.parallel import joined_world
from train.pretrained import build_meta
from train.settings import TrainSettings
from train.stage_run import open_run
from train.vae import FluxVae
from train.weights import state_shapes
from training_runs import settings, values


def write_sparse(path, shapes):
    """A safetensors file of a header and holes: all that is told without reading weights."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)


@pytest.fixture(scope="module")
def bagel(tmp_path_factory):
    """BAGEL-7B-MoT's directory but for its numbers: 29 GB that take no room."""
    path = tmp_path_factory.mktemp("bagel")
    for name, content in config_sidecars(BAGEL_7B).items():
        (path / name).write_text(json.dumps(content))
    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path / "tokenizer.json"))
    write_sparse(path / "ema.safetensors", state_shapes(build_meta(BAGEL_7B)))
    with torch.device("meta"):
        write_sparse(path / "ae.safetensors", state_shapes(FluxVae()))
    return path


def test_the_7b_model_s_four_stages_on_eight_ranks(bagel, data, tmp_path):
    run = TrainSettings.model_validate(
        {
            "base": str(bagel),
            "out": str(tmp_path),
            "flavour": "recommended",
            "data": {role: [str(data)] for role in ("base", "refined", "multi_candidate", "multi_input")},
            "stages": ["stage1_base", "stage1_refined", "stage2_und", "stage2_joint"],
            "ranks": 8,
            "validation": {"samples": 2},
        }
    )
    found = {one.stage: one for one in forecasts(run, bagel)}
    base, und = found["stage1_base"], found["stage2_und"]
    trained, frozen, autoencoder = base.trained, base.weights - base.trained, 83_819_683
    assert base.weights * 2 == pytest.approx(29.2e9, rel=0.01)
    # float32 weights, gradients, two moments and means, 20 bytes each; bfloat16 what is frozen and encodes
    assert base.state_bytes == pytest.approx((20 * trained + 2 * frozen) / 8 + 2 * autoencoder, rel=1e-4)
    assert und.trained < 0.52 * trained
    assert und.state_bytes < 0.6 * base.state_bytes
    assert base.checkpoint_bytes == 16 * trained
    assert (
        disk_bytes(run, list(found.values())) == 3 * 16 * trained + 3 * 2 * base.weights
    )  # as the fourth ends
    assert (base.steps, base.samples + base.held) == (6000, 20)
    assert base.epochs == pytest.approx(8 * 6000 / base.packs)


def test_operations_are_those_of_the_packs_that_are_trained(data, tiny, tmp_path):
    changes = {"steps": 12, "warmup_steps": 0, "data": ["base"], "text_dropout": 0.0, "image_dropout": 0.0}
    run = settings(data, tiny, tmp_path, overrides={"all": changes})
    (found,) = forecasts(run, tiny)
    with joined_world("cpu") as world:
        opened = open_run(run, "stage1_base", tiny, world)
    steps = list(islice(opened.plan.steps(), 12))
    batches = [
        opened.data.training_batch(step, number, pack)
        for step in steps
        for number, pack in enumerate(step.packs)
    ]
    flops = sum(pack_flops(opened.config, batch.samples, opened.stage.trains) for batch in batches)
    assert len(batches) == 12 * 2
    assert found.epochs == pytest.approx(24 / found.packs)
    assert found.flops == pytest.approx(flops, rel=0.1)  # the last epoch is not whole
    assert found.fill == opened.plan.fill()


def test_adapters_train_little_and_leave_the_rest_narrow(bagel, data, tmp_path):
    run = settings(data, bagel, tmp_path, device="auto", budget=26_496, bridge={}, lora={"rank": 64})
    (found,) = forecasts(run, bagel)
    assert found.trained < 0.03 * found.weights
    assert found.state_bytes < 2.5 * found.weights
    assert found.kept_bytes is None, "nothing is checkpointed"


def test_every_problem_of_data_and_weights_is_told_at_once(bagel, data, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for path in bagel.iterdir():
        (base / path.name).symlink_to(path)
    (base / "ae.safetensors").unlink()
    (base / "ae.safetensors").write_bytes((bagel / "ae.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigError) as error:
        forecasts(settings(data, base, tmp_path, budget=500, bridge={}), base)
    assert "ae.safetensors: expected a whole safetensors file, got:" in str(error.value)
    assert "stage stage1_base: plan.budget: expected the largest sample's" in str(error.value)


def test_the_command_prints_a_line_a_stage(data, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values(data, "tiny", tmp_path / "out", bridge={}, budget=1000)))
    done = bakery(tmp_path, "check", str(path), "--set", "overrides.all.steps=7")
    assert done.returncode == 0, done.stderr
    reads, takes = (line for line in done.stdout.splitlines() if line.startswith("stage1_base"))
    assert reads.split()[1:3] == ["18", "2"]
    assert takes.split()[1:4] == ["1,506,352", "of", "1,629,424"]
    assert "Calculated, not measured." in done.stdout
    assert "\ndisk: " in done.stdout
    assert not (tmp_path / "out").exists(), "a check leaves nothing"
    refused = bakery(tmp_path, "check", str(path), "--limit", "3")
    assert "expected no --out, --limit or --sample with a recipe of training" in refused.stderr
