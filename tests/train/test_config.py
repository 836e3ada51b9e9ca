import json
from dataclasses import replace

import pytest

from train.config import (
    BAGEL_7B,
    TINY,
    VAE_RESIZE,
    ConfigError,
    LanguageConfig,
    LatentConfig,
    ModelConfig,
)
from train.config_files import config_sidecars, read_config


def write(directory, config, **changes):
    for name, values in config_sidecars(config).items():
        (directory / name).write_text(json.dumps(values | changes.get(name.removesuffix(".json"), {})))


@pytest.mark.parametrize("config", [TINY, BAGEL_7B], ids=["tiny", "7b"])
def test_config_survives_its_json_files(tmp_path, config):
    write(tmp_path, config)
    assert read_config(tmp_path) == config.check()


def test_bagel_files_without_ours_mean_the_released_model(tmp_path):
    write(tmp_path, BAGEL_7B)
    (tmp_path / "bakery.json").unlink()
    vision = json.loads((tmp_path / "vit_config.json").read_text())
    assert (vision["num_hidden_layers"], vision["image_size"]) == (27, 980)
    assert read_config(tmp_path) == BAGEL_7B


def test_every_contradiction_is_named_at_once():
    config = replace(
        BAGEL_7B,
        language=LanguageConfig(heads=27, kv_heads=4),
        latent=LatentConfig(side=32),
        autoencoder="sd",
    )
    with pytest.raises(ConfigError) as error:
        config.check()
    text = str(error.value)
    assert "language.heads: expected a divisor of hidden (3584), got 27" in text
    assert "vae_resize.max_px: expected at most 512 (32 positions a side), got 1024" in text
    assert "autoencoder: expected one of flux, dct, got 'sd'" in text


def test_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(ConfigError, match="copy it from the base model"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("llm_config", {"tie_word_embeddings": True}, "tie_word_embeddings: expected False"),
        ("llm_config", {"hidden_size": "big"}, "hidden_size: expected a number"),
        ("llm_config", {"rope_scaling": {"type": "yarn"}}, "expected plain RoPE"),
        ("vit_config", {"rope": True}, "rope: expected false"),
        ("bakery", {"model": {"colour": 1}}, "got \\['colour'\\]"),
    ],
)
def test_what_is_not_built_is_refused(tmp_path, file, change, words):
    write(tmp_path, TINY, **{file: change})
    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path)


def test_rope_theta_is_found_where_newer_transformers_write_it(tmp_path):
    write(tmp_path, TINY, llm_config={"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})
    assert read_config(tmp_path).language.rope_theta == 5e5


def test_resize_below_its_minimum_is_named():
    config = ModelConfig(vae_resize=replace(VAE_RESIZE, min_px=2048))
    assert any("min_px" in problem for problem in config.problems())
