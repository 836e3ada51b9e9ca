"""diffusers in this process: a tiny pipeline of random weights draws, edits, repeats and is paid once."""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from datagen.diffusers_engine import DiffusersConfig
from datagen.generators import Picture, PictureRequest
from datagen.images_api import ImagesApiConfig
from datagen.multi_input import MultiInputConfig
from shards.image import check_image
from shards.ledger import Ledger
from shards.sample import Sample
from shards.stage import Reject, Work
from shards.storage import Storage
from tiny_samples import picture

KITE = PictureRequest(prompt="a red kite", size_px=(64, 32), seed=7)
WORDS = ["<|startoftext|>", "<|endoftext|>"]
WORDS += [letter + end for end in ("", "</w>") for letter in "abcdefghijklmnopqrstuvwxyz"]


def parts():
    torch.manual_seed(0)
    blocks = {"layers_per_block": 1, "norm_num_groups": 2}
    text = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    ids = {"vocab_size": len(WORDS), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return {
        "unet": UNet2DConditionModel(
            block_out_channels=(8, 16),
            sample_size=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            **blocks,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            **blocks,
        ),
        "tokenizer": CLIPTokenizer(
            vocab={word: number for number, word in enumerate(WORDS)}, merges=[], model_max_length=16
        ),
        "text_encoder": CLIPTextModel(CLIPTextConfig(max_position_embeddings=16, **text, **ids)),
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folders of a pipeline that draws and of one that edits."""
    torch.set_num_threads(1)  # layers this small wait for threads more than they compute
    folder = tmp_path_factory.mktemp("pipelines")
    rest = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    for name, kind in (("generate", StableDiffusionPipeline), ("edit", StableDiffusionImg2ImgPipeline)):
        kind(**parts(), **rest).save_pretrained(folder / name)
    return folder


def config(folder, does="generate", **changes):
    given = {"model": str(folder / does), "revision": "r1", "does": [does], "dtype": "float32", "steps": 2}
    return DiffusersConfig(**given | changes)


@pytest.fixture
def draw(model, tmp_path):
    def run(requests, does="generate", **changes):
        generator = config(model, does, **changes).build(Ledger(Storage(str(tmp_path / "ledger"))))
        drawn = generator.draw(requests)
        generator.close()
        return drawn, generator.take_counts()

    return run


def test_a_picture_has_its_size_and_all_that_made_it(draw):
    (drawn,), counts = draw([KITE])
    assert isinstance(drawn, Picture)
    facts = check_image(drawn.image)
    assert (facts.width, facts.height) == (64, 32)
    assert {
        "generator": "diffusers",
        "revision": "r1",
        "seed": 7,
        "steps": 2,
    }.items() <= drawn.made_by.items()
    assert counts == {"pictures": 1}


def test_a_seed_repeats_whatever_is_drawn_beside_it_and_another_differs(draw, tmp_path):
    (alone,), _ = draw([KITE], revision="main")
    (first, other), _ = draw([replace(KITE, seed=8), KITE])
    assert other.image == alone.image != first.image


def test_what_is_in_the_ledger_needs_no_weights(draw, model):
    first, _ = draw([KITE, KITE])
    (model / "generate").rename(model / "away")
    try:
        again, counts = draw([KITE])
    finally:
        (model / "away").rename(model / "generate")
    assert again == first[:1]
    assert counts == {}


def test_an_edit_is_drawn_from_its_reference(draw):
    edits = [replace(KITE, references=(picture(n, side_px=64),), size_px=(64, 64)) for n in (20, 200)]
    (one, two), _ = draw(edits, "edit")
    assert one.image != two.image


def test_a_picture_of_another_size_is_drawn_again_and_then_a_reject(draw):
    (rejected,), counts = draw([replace(KITE, references=(picture(20, side_px=64),))], "edit")
    assert isinstance(rejected, Reject)
    assert "3 seeds, last wrong_size" in rejected.detail
    assert counts == {"pictures": 3, "unusable: wrong_size": 3}


def test_a_pipeline_that_cannot_edit_says_so(draw):
    with pytest.raises(TypeError, match="expected a pipeline that takes image"):
        draw([replace(KITE, references=(picture(20),))])


def test_a_recipe_names_it_by_kind_and_a_step_draws_with_both(model, serve, images_api, tmp_path):
    inputs = config(model).model_dump()
    settings = MultiInputConfig(samples=1, size_px=128, inputs=inputs, output=images_api(serve()))
    assert isinstance(settings.inputs, DiffusersConfig)
    assert isinstance(settings.output, ImagesApiConfig)
    stage = settings.build(Ledger(Storage(str(tmp_path / "ledger"))))
    (sample,) = stage([Work(key=planned.key, spec=planned.spec) for planned in settings.plan()])
    stage.close()
    assert isinstance(sample, Sample)
    assert sample.provenance.origin["references"][0]["generator"] == "diffusers"
