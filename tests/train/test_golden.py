import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from train.golden import check_resize, check_vae, golden_config, main, run_directory
from train.model import Bagel

GOLDEN = Path(__file__).parent / "golden"


def test_every_vector_set_of_the_released_code_is_matched():
    results = dict(run_directory(GOLDEN))
    failed = [(name, check) for name, checks in results.items() for check in checks if not check.is_passed]
    assert not failed
    assert {"stage1_packed", "bridge_half_masked", "bridge_all_masked", "vae", "resize_sizes"} <= set(results)
    assert all(results.values())


def test_a_changed_weight_fails_with_exit_code_1(tmp_path, capsys):
    weights = load_file(GOLDEN / "weights_seed0.safetensors")
    weights["llm2vae.bias"] += 0.01
    save_file(weights, tmp_path / "weights_seed0.safetensors")
    for suffix in (".json", ".safetensors"):
        shutil.copy(GOLDEN / f"stage1_packed{suffix}", tmp_path)
    assert main([str(tmp_path)]) == 1
    assert "FAIL stage1_packed" in capsys.readouterr().out


def test_a_directory_without_vectors_is_a_failure(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "found none" in capsys.readouterr().err


def test_loss_and_gradients_are_the_same_when_the_last_layer_computes_targets_only():
    import json

    from train.bridge_config import BridgeConfig
    from train.flow import flow_loss, squared_error
    from train.golden import golden_inputs, golden_layout, golden_model

    about = json.loads((GOLDEN / "bridge_half_masked.json").read_text())
    vectors = load_file(GOLDEN / "bridge_half_masked.safetensors")
    gradients = []
    for watch in (None, lambda *_: None):
        model = golden_model(GOLDEN / "bridge_half_masked.json", about)
        layout = golden_layout(about, model.config, align=8)
        inputs = golden_inputs(layout, about, vectors, "cpu")
        found = model(inputs, BridgeConfig(threshold=about["threshold"]), watch=watch)
        error = squared_error(found.velocity_MC, inputs.clean_GC[layout.ref_rows :], inputs.noise_MC)
        loss = flow_loss(error, inputs.is_target_M, inputs.targets)
        loss.backward()
        assert loss.item() == pytest.approx(about["loss"], abs=1e-5)
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[1].items():
        other = gradients[0][name]
        other = torch.zeros_like(gradient) if other is None and gradient is not None else other
        assert gradient is other or torch.allclose(gradient, other, atol=1e-6), name


def test_names_are_the_released_ones():
    import json

    about = json.loads((GOLDEN / "stage1_packed.json").read_text())
    released = {k: v.shape for k, v in load_file(GOLDEN / "weights_seed0.safetensors").items()}
    ours = {k: v.shape for k, v in Bagel(golden_config(about)).state_dict().items()}
    assert ours == released


def test_checks_name_what_they_compare():
    assert [check.name for check in check_vae(GOLDEN / "vae.json", "cpu")] == ["moments", "latent", "decoded"]
    assert [check.name for check in check_resize(GOLDEN / "resize_sizes.json", "cpu")] == ["vae_hw", "vit_hw"]
