"""The sampler against the training forward pass, and its guidance against hand-made numbers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.bridge_config import BridgeConfig
from train.flow import sampling_times, shifted
from train.golden import golden_model
from train.golden_sampler import golden_prompt, golden_sampler
from train.guidance import SamplerConfig, guided
from train.inputs import pack_inputs
from train.layout import make_layout
from train.sample import sample_latents

PATH = Path(__file__).parent / "golden" / "sampler_no_guidance.json"


@pytest.fixture(scope="module")
def golden():
    about = json.loads(PATH.read_text())
    vectors = load_file(PATH.with_suffix(".safetensors"))
    return (
        golden_model(PATH, about),
        golden_prompt(about, vectors),
        vectors["init_noise"],
        golden_sampler(about),
    )


def training_velocity(model, prompt, noise, bridge):
    """The same step as one packed forward pass: at time 1 the model sees noise only."""
    sample = replace(prompt.tokens, targets=(prompt.target,))
    inputs = pack_inputs(
        make_layout([sample], model.config),
        patch_VC=prompt.patch_VC,
        latent_IC=[*prompt.latent_IC, torch.zeros_like(noise)],
        noise_IC=[noise],
        time=[1.0],
    )
    found = model(inputs, bridge)
    return found.velocity_MC, found.keep_T


@pytest.mark.parametrize("threshold", [None, 0.5, 2.0])
def test_first_step_is_the_training_forward_pass(golden, threshold):
    model, prompt, noise, config = golden
    bridge = None if threshold is None else BridgeConfig(threshold=threshold)
    steps = []
    config = replace(config, uses_bridge=True)
    with torch.no_grad():
        want, keep = training_velocity(model, prompt, noise, bridge)
        sample_latents(model, prompt, noise, config, bridge, watch=lambda _, velocity: steps.append(velocity))
    torch.testing.assert_close(steps[0], want, atol=2e-6, rtol=1e-5)
    if threshold == 0.5:
        assert 0 < int((~keep).sum()) < int(keep.numel() - noise.shape[0])


def test_bridge_changes_nothing_unless_it_is_switched_on(golden):
    model, prompt, noise, config = golden
    off = sample_latents(model, prompt, noise, config, BridgeConfig(threshold=2.0))
    on = sample_latents(model, prompt, noise, replace(config, uses_bridge=True), BridgeConfig(threshold=2.0))
    torch.testing.assert_close(off, sample_latents(model, prompt, noise, config))
    assert not torch.allclose(off, on, atol=1e-4)


def test_outside_the_interval_only_the_full_context_counts(golden):
    model, prompt, noise, config = golden
    outside = replace(config, text_scale=4.0, image_scale=2.0, interval=(2.0, 3.0))
    torch.testing.assert_close(
        sample_latents(model, prompt, noise, outside), sample_latents(model, prompt, noise, config)
    )


@pytest.mark.parametrize("renorm", ["text_channel", "channel", "global"])
def test_renormalized_velocity_is_never_longer_than_the_full_one(renorm):
    full, no_text = torch.randn(2, 5, 8).unbind()
    found = guided([full, no_text], SamplerConfig(renorm=renorm, text_scale=9.0))
    assert found.norm() <= full.norm() * 1.0001


def test_released_schedule_makes_49_steps_from_1_to_0():
    times = sampling_times(50, 3.0)
    assert (len(times), times[0].item(), times[-1].item()) == (50, 1.0, 0.0)
    assert (times.diff() < 0).all()
    torch.testing.assert_close(shifted(torch.tensor(0.5), 4.0), torch.tensor(0.8))


def test_impossible_settings_are_named_together():
    found = SamplerConfig(steps=1, renorm="none", shift=0).problems()
    assert [problem.split(":")[0] for problem in found] == [
        "sampler.steps",
        "sampler.renorm",
        "sampler.shift",
    ]


def test_without_references_there_is_no_image_guidance(golden):
    model, prompt, noise, config = golden
    alone = replace(prompt, tokens=replace(prompt.tokens, references=()), latent_IC=[])
    alone = replace(alone, patch_VC=prompt.patch_VC[:0])
    guided_by_text = replace(config, text_scale=4.0, image_scale=1.0)
    want = sample_latents(model, alone, noise, guided_by_text)
    torch.testing.assert_close(
        sample_latents(model, alone, noise, replace(guided_by_text, image_scale=2.0)), want
    )
    assert not torch.allclose(sample_latents(model, alone, noise, config), want, atol=1e-4)
