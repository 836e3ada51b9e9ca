import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from train.bridge_config import BridgeConfig
from train.config import ConfigError
from train.main import check_recipe, checkpoint_bridge, main_generate, main_relevance

GOOD = {"out": "out", "stages": ["stage1_base"], "budget": 400, "ranks": 2}


def size_of(path):
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def write(tmp_path, tiny, data):
    def write_recipe(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"base": str(tiny), "data": {"base": [str(data)]}, **GOOD, **changes}))
        return path

    return write_recipe


def test_checking_a_recipe_imports_neither_torch_nor_ray(write):
    code = (
        "import sys; from pathlib import Path; from train.main import check_recipe;"
        f"check_recipe(Path({str(write())!r})); assert not {{'torch', 'ray'}} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_yes_is_no_number_and_hides_no_other_mistake(write):
    with pytest.raises(ConfigError) as error:
        check_recipe(write(budget=True, nonsense=1))
    assert "budget: expected no yes or no" in str(error.value)
    assert "nonsense: unknown" in str(error.value)
    with pytest.raises(ConfigError, match="seed: expected no yes or no"):
        check_recipe(write(seed=True))


def test_every_mistake_of_a_recipe_is_told_at_once(write):
    path = write(
        stages=["stage1_base", "stage2_joint", "stage9"],
        packs_per_step=3,
        overrides={"stage1_base": {"trains": [], "bridge": "best"}, "stage7": {"lr": 1}},
        bridge={"last_layer": 90},
    )
    with pytest.raises(ConfigError) as error:
        check_recipe(path)
    text = str(error.value)
    for words in (
        "packs_per_step: expected a multiple of the 2 ranks, got 3",
        "overrides: expected all or a stage of stage1_base, stage2_joint, stage9, got 'stage7'",
        "nothing would change",
        "bridge: expected paper, released, recommended or null, got 'best'",
        "expected directories of refined, multi_candidate, multi_input, got none",
        "last_layer < 4 layers",
        "stages: expected names of stage1_base, stage1_refined",
    ):
        assert words in text, words


PAPER_BRIDGE = {"overrides": {"all": {"bridge": "paper"}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 1}, r"recipe\.yaml: learning_rate: unknown; known: base, .*budget"),
        ({"budgt": 1}, r"recipe\.yaml: budgt: unknown; did you mean 'budget'\?"),
        ({"budget": 0}, r"recipe\.yaml: budget: expected greater than 0, got 0"),
        ({"overrides": {"all": {"steps": "many"}}}, "overrides.stage1_base.steps: expected a valid integer"),
        (
            {"bridge": {"tau": 1}, "overrides": {"all": {"bridge": "paper"}}},
            "bridge.tau: unknown; known: .*threshold",
        ),
        (
            {"bridge": {"threshold": "high"}, **PAPER_BRIDGE},
            "bridge.threshold: expected a valid number.*, got 'high'",
        ),
        (
            {"bridge": {"threshold": 88}, **PAPER_BRIDGE},
            "threshold: expected a cosine in -1..1, got 88",
        ),
        ({"overrides": {"all": {"betas": [0.9, 1]}}}, "betas.1: expected less than 1, got 1"),
        ({"validation": {"times": []}}, "validation.times: .* at least 1 item"),
        ({"validation": {"times": [5]}}, "validation.times.0: .* less than or equal to 1, got 5"),
        ({"lora": {}, "overrides": {"all": {"trains": ["vit"]}}}, "expected layers for lora to adapt"),
    ],
)
def test_a_mistake_is_named_with_its_place(write, change, words):
    with pytest.raises(ConfigError, match=words):
        check_recipe(write(**change))


def test_missing_recipe_and_missing_base_are_named(tmp_path, write):
    with pytest.raises(ConfigError, match="expected a training recipe, got no file"):
        check_recipe(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"nowhere: expected a model directory .*, got no folder"):
        check_recipe(write(base=str(tmp_path / "nowhere")))


def test_a_recipe_of_steps_is_told_from_one_of_training(tmp_path):
    (tmp_path / "demo.yaml").write_text("steps: {base: {step: single_candidate, samples: 4}}")
    with pytest.raises(ConfigError, match="got a recipe of steps; `bakery run` runs it"):
        check_recipe(tmp_path / "demo.yaml")


def test_generate_draws_the_same_image_for_the_same_seed(tiny, samples, tmp_path):
    reference = tmp_path / "a.png"
    reference.write_bytes(samples[0].target.data)
    made = [
        main_generate(
            tiny,
            [reference],
            "A fox.",
            tmp_path / f"{n}.png",
            size=(96, 64),
            steps=3,
            seed=seed,
            device="cpu",
        ).read_bytes()
        for n, seed in enumerate((0, 0, 1))
    ]
    assert size_of(tmp_path / "0.png") == (96, 64)
    assert made[0] == made[1] != made[2]
    with pytest.raises(ConfigError, match="at most 168"):
        main_generate(tiny, [], "x", tmp_path / "x.png", vit_px=980, device="cpu")
    with pytest.raises(ConfigError, match="2 points in time"):
        main_generate(tiny, [], "x", tmp_path / "x.png", steps=1)


def test_relevance_sheet_has_a_row_a_layer_and_two_columns_a_reference(tiny, data, samples, tmp_path):
    sample = next(sample for sample in samples if len(sample.references) == 2)
    path = main_relevance(tiny, str(data), sample.key, tmp_path / "sheet.png", device="cpu")
    assert size_of(path) == (4 * 160, 4 * 174)
    with pytest.raises(ConfigError, match="got 'nobody'"):
        main_relevance(tiny, str(data), "nobody", tmp_path / "x.png", device="cpu")


def test_checkpoint_remembers_its_bridge(tmp_path):
    assert checkpoint_bridge(tmp_path).fallback_frac == 0.1
    (tmp_path / "bakery.json").write_text(json.dumps({"bridge": {"threshold": 0.5, "fallback_frac": 0.0}}))
    assert checkpoint_bridge(tmp_path) == BridgeConfig(threshold=0.5)


@pytest.mark.filterwarnings("ignore:.*flex_attention:UserWarning")  # which a GPU compiles
def test_relevance_is_drawn_through_block_masks_too_where_one_mask_would_be_too_large(
    tiny, data, samples, tmp_path, monkeypatch
):
    arguments = tiny, str(data), samples[1].key
    sheets = [main_relevance(*arguments, tmp_path / "dense.png", device="cpu")]
    monkeypatch.setattr("train.build.flex_block", lambda _device: 128)
    sheets.append(main_relevance(*arguments, tmp_path / "flex.png", device="cpu"))
    dense, flex = (np.asarray(Image.open(sheet), np.int16) for sheet in sheets)
    assert np.abs(dense - flex).max() <= 2
