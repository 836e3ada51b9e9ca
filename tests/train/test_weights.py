import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from train.config import BAGEL_7B, TINY
from train.config_files import config_sidecars
from train.model import Bagel
from train.pretrained import build_meta, export_model, load_autoencoder, load_model, materialize, write_tiny
from train.vae import FluxVae
from train.weights import WeightsError, check_shapes, load_file_into, save_streaming, state_shapes


def released_shapes():
    """The 1223 tensors of BAGEL-7B-MoT, written down from the facts' table and from nothing else."""
    hidden, mlp, vision, vision_mlp = 3584, 18944, 1152, 4304
    shapes = {
        "language_model.model.embed_tokens.weight": (152064, hidden),
        "language_model.lm_head.weight": (152064, hidden),
        "time_embedder.mlp.0.weight": (hidden, 256),
        "time_embedder.mlp.0.bias": (hidden,),
        "time_embedder.mlp.2.weight": (hidden, hidden),
        "time_embedder.mlp.2.bias": (hidden,),
        "vae2llm.weight": (hidden, 64),
        "vae2llm.bias": (hidden,),
        "llm2vae.weight": (64, hidden),
        "llm2vae.bias": (64,),
        "latent_pos_embed.pos_embed": (4096, hidden),
        "vit_pos_embed.pos_embed": (4900, hidden),
        "connector.fc1.weight": (hidden, vision),
        "connector.fc1.bias": (hidden,),
        "connector.fc2.weight": (hidden, hidden),
        "connector.fc2.bias": (hidden,),
        "vit_model.vision_model.embeddings.patch_embedding.weight": (vision, 588),
        "vit_model.vision_model.embeddings.patch_embedding.bias": (vision,),
        "vit_model.vision_model.embeddings.position_embedding.weight": (4900, vision),
        "vit_model.vision_model.post_layernorm.weight": (vision,),
        "vit_model.vision_model.post_layernorm.bias": (vision,),
    }
    for expert in ("", "_moe_gen"):
        shapes[f"language_model.model.norm{expert}.weight"] = (hidden,)
        for i in range(28):
            layer = f"language_model.model.layers.{i}"
            for norm in ("input_layernorm", "post_attention_layernorm"):
                shapes[f"{layer}.{norm}{expert}.weight"] = (hidden,)
            for name, size in (("q", hidden), ("k", 512), ("v", 512)):
                shapes[f"{layer}.self_attn.{name}_proj{expert}.weight"] = (size, hidden)
                shapes[f"{layer}.self_attn.{name}_proj{expert}.bias"] = (size,)
            shapes[f"{layer}.self_attn.o_proj{expert}.weight"] = (hidden, hidden)
            for norm in ("q_norm", "k_norm"):
                shapes[f"{layer}.self_attn.{norm}{expert}.weight"] = (128,)
            for name in ("gate_proj", "up_proj"):
                shapes[f"{layer}.mlp{expert}.{name}.weight"] = (mlp, hidden)
            shapes[f"{layer}.mlp{expert}.down_proj.weight"] = (hidden, mlp)
    for j in range(26):
        layer = f"vit_model.vision_model.encoder.layers.{j}"
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{norm}.{kind}": (vision,) for kind in ("weight", "bias")}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}.self_attn.{name}.weight"] = (vision, vision)
            shapes[f"{layer}.self_attn.{name}.bias"] = (vision,)
        shapes |= {f"{layer}.mlp.fc1.weight": (vision_mlp, vision), f"{layer}.mlp.fc1.bias": (vision_mlp,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (vision, vision_mlp), f"{layer}.mlp.fc2.bias": (vision,)}
    return shapes


def test_all_1223_tensors_of_the_7b_model_have_released_names_and_shapes():
    released = released_shapes()
    assert len(released) == 1223
    assert state_shapes(build_meta(BAGEL_7B)) == released
    # the facts' own sum
    assert sum(torch.Size(shape).numel() for shape in released.values()) == pytest.approx(14.607e9, rel=1e-3)


@pytest.fixture
def tiny(tmp_path):
    write_tiny(tmp_path / "tiny", seed=1)
    return tmp_path / "tiny"


def test_tiny_model_is_the_same_for_the_same_seed_and_loads(tiny, tmp_path):
    write_tiny(tmp_path / "again", seed=1)
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    model = load_model(tiny)
    weights = load_file(tiny / "model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_streamed_file_is_what_safetensors_reads(tmp_path):
    tensors = {"a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.zeros(0, 4)}
    save_streaming(tmp_path / "x.safetensors", tensors, torch.bfloat16)
    found = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], value.bfloat16()) for name, value in tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_every_misfit_is_named(tiny):
    weights = load_file(tiny / "model.safetensors")
    del weights["llm2vae.bias"]
    weights["extra.weight"] = torch.zeros(1)
    weights["connector.fc1.bias"] = torch.zeros(3)
    save_file(weights, tiny / "model.safetensors")
    with pytest.raises(WeightsError) as error:
        load_model(tiny)
    text = str(error.value)
    assert "lacks llm2vae.bias" in text
    assert "has unknown extra.weight" in text
    assert "connector.fc1.bias [3] for [64]" in text


def test_tables_of_another_size_are_recomputed_not_refused(tiny):
    weights = load_file(tiny / "model.safetensors")
    weights["latent_pos_embed.pos_embed"] = torch.zeros(4, 64)
    save_file(weights, tiny / "model.safetensors")
    assert load_model(tiny).latent_pos_embed.pos_embed.abs().sum() > 0


def test_hints_name_the_usual_mistakes():
    expected = state_shapes(build_meta(TINY))
    plain = {name: shape for name, shape in expected.items() if "_moe_gen" not in name}
    with pytest.raises(WeightsError, match="start from BAGEL-7B-MoT"):
        check_shapes("x", expected, plain)
    with pytest.raises(WeightsError, match="carry a prefix"):
        check_shapes("x", expected, {f"module.{name}": shape for name, shape in expected.items()})


def test_directory_without_weights_says_what_is_missing(tmp_path):
    for name, values in config_sidecars(TINY).items():
        (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=r"model.safetensors or ema.safetensors, found neither"):
        load_model(tmp_path)


def test_exported_directory_keeps_the_base_models_files_and_name(tiny, tmp_path):
    (tiny / "model.safetensors").rename(tiny / "ema.safetensors")
    (tiny / "tokenizer.json").write_text("{}")
    (tiny / "ae.safetensors").write_bytes(b"frozen")
    model = load_model(tiny)
    export_model(model.state_dict(), tiny, tmp_path / "out", TINY, {"stage": "one"})
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in tiny.iterdir()}
    assert json.loads((tmp_path / "out/bakery.json").read_text())["stage"] == "one"
    again = load_model(tmp_path / "out")
    for name, value in model.state_dict().items():
        expected = value if name.endswith("pos_embed") else value.bfloat16().float()
        assert torch.equal(again.state_dict()[name], expected), name


def test_flux_autoencoder_loads_strictly_from_its_own_file(tmp_path):
    from dataclasses import replace

    from train.vae import VaeConfig

    small = FluxVae(VaeConfig(channels=32, multipliers=(1, 1), blocks=1))
    save_file(small.state_dict(), tmp_path / "ae.safetensors")
    with pytest.raises(WeightsError, match="has other shapes"):
        load_autoencoder(tmp_path, replace(TINY, autoencoder="flux"))
    load_file_into(small, tmp_path / "ae.safetensors")


def test_meta_model_takes_memory_only_when_materialized():
    model = build_meta(TINY)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    materialize(model, "cpu")
    assert torch.equal(model.vit_pos_embed.pos_embed, Bagel(TINY).vit_pos_embed.pos_embed)
