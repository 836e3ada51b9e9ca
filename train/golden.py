"""The released code's test vectors through our model: `python -m train.golden DIR`; 1 past tolerance."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from train.bridge_config import BridgeConfig
from train.config import (
    VAE_RESIZE,
    VIT_RESIZE,
    LanguageConfig,
    LatentConfig,
    ModelConfig,
    ResizeRule,
    SpecialTokens,
    VisionConfig,
)
from train.flow import draw_time, flow_loss, squared_error
from train.golden_sampler import sampler_errors
from train.inputs import PackInputs, pack_inputs
from train.layout import Layout, make_layout
from train.model import Bagel
from train.patches import to_tokens
from train.resize import resized_hw
from train.segments import Grid, ReferenceTokens, SampleTokens
from train.vae import FluxVae, VaeConfig

HIDDEN_TOLERANCE = 1e-4
RELEVANCE_TOLERANCE = 1e-5
NORM_TOLERANCE = 1e-3  # relative
VAE_TOLERANCE = 5e-5  # float32, other convolution kernels


@dataclass(frozen=True)
class Check:
    """One line of the report: the largest error of one quantity, and how much is allowed."""

    name: str
    error: float
    tolerance: float

    @property
    def is_passed(self) -> bool:
        return self.error <= self.tolerance  # NaN fails


def main(arguments: list[str] | None = None) -> int:
    """Print every set's largest errors; 1 if any is past tolerance or there is no set."""
    parser = argparse.ArgumentParser(prog="python -m train.golden", description=__doc__)
    parser.add_argument("directory", type=Path, help="laid out like shared/golden")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    results = list(run_directory(options.directory, options.device))
    for name, checks in results:
        for check in checks:
            mark = "ok  " if check.is_passed else "FAIL"
            sys.stdout.write(f"{mark} {name:22} {check.name:16} {check.error:9.3g} of {check.tolerance:g}\n")
    if not results:
        sys.stderr.write(f"{options.directory}: expected *.json with test vectors, found none\n")
    return 0 if results and all(check.is_passed for _, checks in results for check in checks) else 1


def run_directory(directory: Path, device: str = "cpu") -> Iterator[tuple[str, list[Check]]]:
    """Every set of a directory with its checks."""
    for path in sorted(directory.glob("*.json")):
        yield path.stem, _runner(path)(path, device)


def _runner(path: Path) -> Callable[[Path, str], list[Check]]:
    if path.stem == "vae":
        return check_vae
    if path.stem == "resize_sizes":
        return check_resize
    return check_sampler if path.stem.startswith("sampler_") else check_pack


def golden_config(about: dict[str, Any]) -> ModelConfig:
    """The model's configuration from a set's `dims` and `special_tokens`."""
    dims = about["dims"]
    names = ("hidden", "layers", "heads", "kv_heads", "intermediate", "vocab", "rope_theta")
    return ModelConfig(
        language=LanguageConfig(**{name: dims[name] for name in names}, norm_eps=dims["rms_norm_eps"]),
        vision=VisionConfig(
            hidden=dims["vit_hidden"],
            layers=dims["vit_layers"],
            heads=dims["vit_heads"],
            intermediate=dims["vit_intermediate"],
            patch_px=dims["vit_patch"],
            side=dims["vit_max_patches_per_side"],
        ),
        latent=LatentConfig(
            channels=dims["latent_channels"], patch=dims["latent_patch"], side=dims["max_latent_size"]
        ),
        tokens=SpecialTokens(**about["special_tokens"]),
        vae_resize=ResizeRule(stride_px=16, min_px=16, max_px=16 * dims["max_latent_size"]),
        vit_resize=ResizeRule(stride_px=14, min_px=14, max_px=14 * dims["vit_max_patches_per_side"]),
    ).check()


def golden_model(path: Path, about: dict[str, Any], device: str = "cpu") -> Bagel:
    """Our model with the set's weights."""
    model = Bagel(golden_config(about))
    model.load_state_dict(load_file(path.parent / about["weights"]), strict=True)
    return model.to(device)


def reference_tokens(reference: dict[str, Any]) -> ReferenceTokens:
    """One entry of a set's `refs`."""
    return ReferenceTokens(
        latent=Grid(*reference["latent_tokens_hw"]), vit=Grid(*reference["vit_patches_hw"])
    )


def golden_layout(about: dict[str, Any], config: ModelConfig, align: int = 1) -> Layout:
    """The layout of a packed set."""
    samples = [
        SampleTokens(
            references=[reference_tokens(reference) for reference in sample["refs"]],
            text=sample["text"],
            targets=[Grid(*sample["target_tokens_hw"])],
            key=str(number),
        )
        for number, sample in enumerate(about["samples"])
    ]
    return make_layout(samples, config, align)


def golden_inputs(
    layout: Layout, about: dict[str, Any], vectors: dict[str, Tensor], device: str, block: int | None = None
) -> PackInputs:
    """A packed set's images on its layout."""
    patch = about["dims"]["latent_patch"]
    places = [(n, i) for n, sample in enumerate(about["samples"]) for i in range(len(sample["refs"]))]
    samples = range(len(about["samples"]))
    references = [to_tokens(vectors[f"inputs/{n}/ref{i}/latent"], patch) for n, i in places]
    targets = [to_tokens(vectors[f"inputs/{n}/target/latent"], patch) for n in samples]
    raw = torch.tensor([sample["raw_timestep"] for sample in about["samples"]])
    return pack_inputs(
        layout,
        patch_VC=torch.cat([vectors[f"inputs/{n}/ref{i}/vit_patches"] for n, i in places]),
        latent_IC=references + targets,
        noise_IC=[vectors[f"inputs/{n}/target/noise"] for n in samples],
        time=draw_time(raw, about["timestep_shift"]),
        block=block,
        device=device,
    )


def check_pack(path: Path, device: str) -> list[Check]:
    """Hidden states, squared errors, loss, relevance, masked tokens and gradient norms of a packed set."""
    about, vectors = _read(path)
    model = golden_model(path, about, device)
    layout = golden_layout(about, model.config)
    inputs = golden_inputs(layout, about, vectors, device)
    bridge = None if about["threshold"] is None else BridgeConfig(threshold=about["threshold"])
    hidden: dict[int, Tensor] = {}
    found = model(inputs, bridge, watch=lambda n, und, gen: hidden.update({n: torch.cat([und, gen])}))
    error_MC = squared_error(found.velocity_MC, inputs.clean_GC[layout.ref_rows :], inputs.noise_MC)
    loss = flow_loss(error_MC, inputs.is_target_M, inputs.targets)
    loss.backward()
    checks = [
        Check("hidden states", _hidden_error(layout, hidden, vectors), HIDDEN_TOLERANCE),
        Check("squared errors", _worst(error_MC, vectors["expected/squared_error"]), HIDDEN_TOLERANCE),
        Check("loss", abs(loss.item() - about["loss"]), HIDDEN_TOLERANCE),
        Check("gradient norms", _gradient_error(model, about["grad_norms"]), NORM_TOLERANCE),
    ]
    if found.relevance_T is None or found.keep_T is None:
        return checks
    unpacked = _unpacked(layout, found.relevance_T)
    masked = int((~found.keep_T).sum())
    return [
        *checks,
        Check("relevance", _worst(unpacked, vectors["expected/relevance"]), RELEVANCE_TOLERANCE),
        Check("masked tokens", abs(masked - about["masked_reference_tokens"]), 0),
    ]


def _hidden_error(layout: Layout, hidden: dict[int, Tensor], vectors: dict[str, Tensor]) -> float:
    return max(
        _worst(_unpacked(layout, state), vectors[f"expected/hidden_after_layer_{number}"])
        for number, state in hidden.items()
        if f"expected/hidden_after_layer_{number}" in vectors
    )


def _unpacked(layout: Layout, value_T: Tensor) -> Tensor:
    """Rows in the released order."""
    order = torch.from_numpy(layout.packed)
    rows = value_T[order.to(value_T.device) >= 0]
    return rows[order[order >= 0].argsort().to(value_T.device)]


def _gradient_error(model: Bagel, expected: dict[str, float | None]) -> float:
    worst = 0.0
    for name, parameter in model.named_parameters():
        norm = 0.0 if parameter.grad is None else parameter.grad.norm().item()
        want = expected[name] or 0.0
        worst = max(worst, abs(norm - want) / max(abs(want), 1e-6))
    return worst


def _worst(found: Tensor, expected: Tensor) -> float:
    return (found.detach().cpu().double() - expected.double()).abs().max().item()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads(path.read_text("utf-8")), load_file(path.with_suffix(".safetensors"))


def check_sampler(path: Path, device: str) -> list[Check]:
    """Guided velocities of every step and the final latents of a sampler set."""
    about, vectors = _read(path)
    errors = sampler_errors(golden_model(path, about, device), about, vectors)
    return [Check(name, error, HIDDEN_TOLERANCE) for name, error in errors.items()]


def check_vae(path: Path, device: str) -> list[Check]:
    """The autoencoder's moments, latents and decoded image."""
    about, vectors = _read(path)
    config = VaeConfig(
        channels=about["ch"],
        multipliers=tuple(about["ch_mult"]),
        blocks=about["num_res_blocks"],
        latent_channels=about["z_channels"],
        scale=about["scale_factor"],
        shift=about["shift_factor"],
    )
    vae = FluxVae(config)
    prefix = "weights/"
    vae.load_state_dict({k.removeprefix(prefix): v for k, v in vectors.items() if k.startswith(prefix)})
    vae.to(device)
    with torch.no_grad():
        moments = vae.moments(vectors["image"].to(device))
        latent = vae.latent(moments, vectors["noise"].to(device))
        found = {"moments": moments, "latent": latent, "decoded": vae.decode(latent)}
    return [Check(name, _worst(value, vectors[name]), VAE_TOLERANCE) for name, value in found.items()]


def check_resize(path: Path, _device: str) -> list[Check]:
    """Sizes of both resize rules; the error is the number of images sized otherwise."""
    cases = json.loads(path.read_text("utf-8"))
    return [
        Check(name, sum(list(resized_hw(c["width"], c["height"], rule)) != c[name] for c in cases), 0)
        for name, rule in (("vae_hw", VAE_RESIZE), ("vit_hw", VIT_RESIZE))
    ]


if __name__ == "__main__":
    raise SystemExit(main())
