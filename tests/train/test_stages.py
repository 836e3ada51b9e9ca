import pytest
from pydantic import ValidationError

from train.config import BAGEL_7B, TINY, ConfigError
from train.groups import GROUPS, group_of, table_text, trained_names, training_table
from train.pretrained import build_meta
from train.stages import FOUR_STEPS, STAGES, Stage, stage_preset, warmed_lr


@pytest.fixture(scope="module")
def sizes_7b():
    return {name: parameter.numel() for name, parameter in build_meta(BAGEL_7B).named_parameters()}


def trained(sizes, flavour, name):
    names = trained_names(sizes, stage_preset(flavour, name).trains, 28, is_lora=False)
    return {row.group: row.trained for row in training_table(sizes, names, 28) if row.trained}


def test_every_parameter_is_in_exactly_one_group(sizes_7b):
    rows = training_table(sizes_7b, trained_names(sizes_7b, ["vit"], 28, is_lora=False), 28)
    assert sum(row.tensors for row in rows) == len(sizes_7b) == 1221
    assert sum(row.trained + row.frozen for row in rows) == sum(sizes_7b.values())
    assert [row.group for row in rows] == list(GROUPS)
    with pytest.raises(ConfigError, match=r"add it to train/groups.py"):
        group_of("adapter.weight", 28)


def test_unreached_parameters_are_those_that_get_no_gradient():
    import json
    from pathlib import Path

    from safetensors.torch import load_file

    from train.flow import flow_loss, squared_error
    from train.golden import golden_inputs, golden_layout, golden_model

    path = Path(__file__).parent / "golden" / "stage1_packed.json"
    about = json.loads(path.read_text())
    model = golden_model(path, about)
    layout = golden_layout(about, model.config)
    inputs = golden_inputs(layout, about, load_file(path.with_suffix(".safetensors")), "cpu")
    found = model(inputs)
    error = squared_error(found.velocity_MC, inputs.clean_GC[layout.ref_rows :], inputs.noise_MC)
    flow_loss(error, inputs.is_target_M, inputs.targets).backward()
    layers = model.config.language.layers
    for name, parameter in model.named_parameters():
        is_reached = parameter.grad is not None and bool(parameter.grad.any())
        assert is_reached == (group_of(name, layers) != "unreached"), name


def test_released_last_step_trains_two_modules_only_and_no_bridge(sizes_7b):
    found = trained(sizes_7b, "released", "stage2_joint")
    assert found == {"embed_tokens": 544_997_376, "time_embedder": 13_769_728}
    assert stage_preset("released", "stage2_joint").bridge is None
    assert {stage_preset("released", name).data for name in FOUR_STEPS[2:]} == {("refined",)}


def test_paper_trains_understanding_first_then_both_with_the_bridge(sizes_7b):
    und, joint = (trained(sizes_7b, "paper", name) for name in ("stage2_und", "stage2_joint"))
    assert set(und) < set(joint)
    assert "gen_layers" in joint
    assert "time_embedder" not in und
    for flavour in ("paper", "recommended"):
        for name in ("stage2_und", "stage2_joint"):
            stage = stage_preset(flavour, name)
            assert stage.bridge == flavour
            assert set(stage.data) == {"refined", "multi_candidate", "multi_input"}


@pytest.mark.parametrize("flavour", STAGES)
def test_every_preset_can_be_trained(flavour, sizes_7b):
    assert [stage.name for stage in STAGES[flavour]] == [*FOUR_STEPS, "direct_joint"]
    for stage in STAGES[flavour]:
        assert not stage.problems()
        assert trained(sizes_7b, flavour, stage.name)


def test_a_stage_that_would_train_nothing_is_refused():
    stage = Stage(name="none", trains=(), data=("base",), steps=10, warmup_steps=0)
    assert any("nothing would change" in problem for problem in stage.problems())
    with pytest.raises(ConfigError, match="nothing would change"):
        training_table({"llm2vae.weight": 3}, (), 28)
    bad = Stage(name="bad", trains=("und", "unreached"), data=("x",), steps=5, warmup_steps=9, bridge="b")
    assert len(bad.problems()) == 5
    empty = Stage(name="empty", trains=("vit",), data=(), steps=5, warmup_steps=5, may_end_in_warmup=True)
    assert empty.problems() == ["stage empty: data: expected at least one data set, got none"]
    with pytest.raises(ValidationError):
        Stage(name="x", trains=("vit",), data=("base",), steps=1, warmup_steps=0, learning_rate=1)


def test_warm_up_is_linear_never_zero_and_then_constant():
    stage = stage_preset("paper", "stage2_und")
    rates = [warmed_lr(stage, step) for step in range(40)]
    assert rates[0] > 0
    assert rates[19] < stage.lr
    assert rates[20:] == [stage.lr] * 20
    released = stage_preset("released", "stage2_und")
    assert warmed_lr(released, 999) == pytest.approx(1e-5, rel=1e-2)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ConfigError, match="released, paper, recommended, got 'best'"):
        stage_preset("best", "stage1_base")
    with pytest.raises(ConfigError, match="stage1_base, stage1_refined"):
        stage_preset("paper", "stage3")


def test_table_says_what_trains():
    sizes = {name: p.numel() for name, p in build_meta(TINY).named_parameters()}
    names = trained_names(sizes, ("latent_projections",), 20, is_lora=False)
    text = table_text(training_table(sizes, names, 20)).splitlines()
    assert len(text) == len(GROUPS) + 2
    assert text[5].split() == ["latent_projections", "4", "8,320", "0"]
