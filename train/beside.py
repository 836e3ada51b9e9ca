"""Our decoder layers beside the released ones, in one process, with the same weights and inputs.

The released code is a checkout that the user has; nothing of it is here. Its layers are timed as they are
called in training: per-sample masks of [L, L], rows scattered in every layer. The bridge's keep mask is ours
for both, so its cost is in our time only.
"""

from __future__ import annotations

import contextlib
import importlib
import statistics
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.bridge import keep_mask, relevance
from train.config import ConfigError, LanguageConfig
from train.inputs import PackInputs
from train.layout import Layout
from train.masks import dense_mask, token_meta
from train.model import Attends, Bagel
from train.segments import SampleTokens
from train.speed import BRIDGE, Bench, make_inputs, make_slice

PACKAGES = ("modeling", "modeling.bagel", "modeling.qwen2", "modeling.cache_utils")
LAYER = "Qwen2MoTDecoderLayer"


def load_released(path: Path, *, in_float32: bool) -> types.ModuleType:
    """The released module that holds the decoder layer; only what it needs is run of its package.

    Args:
        path: a checkout of the released repository (Scone or BAGEL).
        in_float32: let its attention compute in float32, where it casts to bfloat16 whatever it is given.

    Raises:
        ConfigError: there is no such code, or it cannot be imported with this transformers.
    """
    source = path / "modeling/bagel/qwen2_navit.py"
    if not source.exists():
        raise ConfigError(
            f"{source}: expected the released layer code, got no file; clone Scone or BAGEL there"
        )
    for name in PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(path / name.replace(".", "/"))]
        sys.modules[name] = package
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("modeling.qwen2.modeling_qwen2")
            with _without_flash_attention():
                module = importlib.import_module("modeling.bagel.qwen2_navit")
    except ImportError as error:
        raise ConfigError(
            f"{source}: expected code that this transformers can run, got {error}; use transformers 5.17"
        ) from error
    if in_float32:
        module.__dict__["torch"] = _Float32Torch()
        module.__dict__["sdpa_kernel"] = lambda backends: contextlib.nullcontext()  # noqa: ARG005, its name
    return module


@contextlib.contextmanager
def _without_flash_attention() -> Iterator[None]:
    """Its import wants flash_attn, which only its inference calls."""
    stand_in = types.ModuleType("flash_attn")
    stand_in.__dict__.update(flash_attn_varlen_func=None, __spec__=ModuleSpec("flash_attn", None))
    is_there = "flash_attn" in sys.modules or importlib.util.find_spec("flash_attn") is not None
    if not is_there:
        sys.modules["flash_attn"] = stand_in
    try:
        yield
    finally:
        if not is_there:
            del sys.modules["flash_attn"]


class _Float32Torch:
    """torch, but that bfloat16 is float32."""

    bfloat16 = torch.float32

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401, whatever torch has
        return getattr(torch, name)


def released_layers(
    module: types.ModuleType, ours: Sequence[nn.Module], config: LanguageConfig, bench: Bench
) -> nn.ModuleList:
    """As many released layers, with our weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        about = module.Qwen2Config(
            vocab_size=config.vocab,
            hidden_size=config.hidden,
            intermediate_size=config.intermediate,
            num_hidden_layers=len(ours),
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            rms_norm_eps=config.norm_eps,
            rope_theta=config.rope_theta,
            qk_norm=True,
            layer_module=LAYER,
        )
    with torch.device(bench.device):
        layers = nn.ModuleList(getattr(module, LAYER)(about, number) for number in range(len(ours)))
    for layer, own in zip(layers, ours, strict=True):
        layer.load_state_dict(own.state_dict(), strict=True)
    return layers.to(bench.dtype).train()


@dataclass(frozen=True, kw_only=True)
class Pack:
    """One pack as both see it.

    Attributes:
        und_UH, gen_GH: rows before the first layer, grouped; gradients reach them.
        order: the grouped row at each place of the released order; padding has none.
        released: what the released layers are called with, but for the bridge's masks.
        is_target_N: which rows of the released order are target latents.
    """

    layout: Layout
    inputs: PackInputs
    und_UH: Tensor
    gen_GH: Tensor
    rope: tuple[Tensor, Tensor]
    order: Tensor
    released: dict[str, Any]
    is_target_N: Tensor


def make_pack(samples: Sequence[SampleTokens], model: Bagel, bench: Bench) -> Pack:
    """Random rows of a pack, the same for both."""
    layout, inputs = make_inputs(samples, bench)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(layout.rows, bench.config.language.hidden, generator=generator)
    rows = rows.to(bench.device, bench.dtype)
    order = torch.from_numpy(layout.packed).argsort(stable=True)[int((layout.packed < 0).sum()) :]
    meta, rope = token_meta(layout).at(order), model.rope(inputs.position_T)
    order = order.to(bench.device)
    is_und = order < layout.und_rows
    lengths = torch.bincount(meta.doc.long()).tolist()
    docs = [meta.at(part) for part in torch.arange(len(order)).split(lengths)]
    masks = [torch.zeros(len(d.doc), len(d.doc)).masked_fill(~dense_mask(d), float("-inf")) for d in docs]
    released = {
        "sample_lens": lengths,
        "attention_mask": [mask.to(bench.device) for mask in masks],
        "packed_position_embeddings": tuple(part[order].to(bench.dtype) for part in rope),
        "packed_und_token_indexes": is_und.nonzero().flatten(),
        "packed_gen_token_indexes": (~is_und).nonzero().flatten(),
    }
    return Pack(
        layout=layout,
        inputs=inputs,
        und_UH=rows[: layout.und_rows].clone().requires_grad_(),
        gen_GH=rows[layout.und_rows :].clone().requires_grad_(),
        rope=rope,
        order=order,
        released=released,
        is_target_N=meta.is_target.to(bench.device),
    )


def run_ours(model: Bagel, pack: Pack, *, is_bridged: bool) -> tuple[Tensor, Tensor | None]:
    """Rows after the last layer, in the released order, and the bridge's keep mask."""
    und, gen, keep_T = pack.und_UH, pack.gen_GH, None
    attends, index = Attends(pack.inputs.attention), pack.inputs.bridge
    for number, layer in enumerate(model.language_model.model.layers):
        keep = keep_T if number in BRIDGE.layers else None
        und, gen = layer(und, gen, pack.rope, attends.get(keep, None))
        if is_bridged and number == BRIDGE.relevance_layer:
            keep_T = keep_mask(relevance(und, pack.layout.rows, index), index, BRIDGE)
    return torch.cat([und, gen])[pack.order], keep_T


def run_released(layers: nn.ModuleList, pack: Pack, keep_T: Tensor | None, bench: Bench) -> Tensor:
    """The same by the released layers, under the same keep mask."""
    hidden = torch.cat([pack.und_UH, pack.gen_GH])[pack.order]
    bridged: dict[str, Any] = {}
    if keep_T is not None:
        bias_N = torch.zeros(len(hidden), device=hidden.device)
        bias_N = bias_N.masked_fill(~keep_T[pack.order], float("-inf"))
        bridged = {"semantic_mask": bias_N, "target_token_mask": pack.is_target_N}
    for number, layer in enumerate(layers):
        call = partial(layer, **pack.released, **(bridged if number in BRIDGE.layers else {}))
        hidden = checkpoint(call, hidden, use_reentrant=False) if bench.is_gpu else call(hidden)
    return hidden


@dataclass(frozen=True)
class Sides:
    """Both models, made once: each new one would be compiled, and take its memory, anew."""

    model: Bagel
    theirs: nn.ModuleList


def make_sides(module: types.ModuleType, bench: Bench) -> Sides:
    """Our slice, and the released layers with its weights."""
    model = make_slice(bench)
    layers = model.language_model.model.layers
    return Sides(model, released_layers(module, layers, bench.config.language, bench))


def compare(
    sides: Sides, bench: Bench, name: str, samples: Sequence[SampleTokens], *, is_bridged: bool
) -> dict[str, Any]:
    """One line of figures: how far apart outputs and gradients are, and how many times as fast ours is.

    Differences are root mean squares over that of the released values.
    """
    model, theirs = sides.model, sides.theirs
    ours = model.language_model.model.layers
    pack = make_pack(samples, model, bench)
    _, keep_T = run_ours(model, pack, is_bridged=is_bridged)

    def our_step() -> Tensor:
        return _backward(run_ours(model, pack, is_bridged=is_bridged)[0])

    def their_step() -> Tensor:
        return _backward(run_released(theirs, pack, keep_T, bench))

    differences = _differences(ours, our_step, theirs, their_step, pack)
    times, peaks = _rounds(bench, our_step, their_step)
    tokens = len(pack.order)
    return {
        "pack": name,
        "bridge": is_bridged,
        "tokens": tokens,
        **differences,
        "ms": round(1000 * statistics.median(times[0]), 2),
        "released_ms": round(1000 * statistics.median(times[1]), 2),
        "times_as_fast": round(statistics.median(b / a for a, b in zip(*times, strict=True)), 3),
        "peak_gb": peaks[0],
        "released_peak_gb": peaks[1],
    }


def _backward(out_NH: Tensor) -> Tensor:
    """A gradient that is not the same for every row or number."""
    weight = torch.linspace(-1, 1, out_NH.numel(), device=out_NH.device).view_as(out_NH).to(out_NH.dtype)
    out_NH.backward(weight)
    return out_NH.detach()


def _differences(
    ours: nn.ModuleList,
    our_step: Callable[[], Tensor],
    theirs: nn.ModuleList,
    their_step: Callable[[], Tensor],
    pack: Pack,
) -> dict[str, float]:
    outputs, gradients = [], []
    for layers, step in ((theirs, their_step), (ours, our_step)):
        _forget(pack, layers)
        outputs.append(step())
        weights = {name: parameter.grad.clone() for name, parameter in layers.named_parameters()}
        gradients.append(weights | {"rows": torch.cat([pack.und_UH.grad, pack.gen_GH.grad])[pack.order]})
    worst = max(_apart(gradients[1][name], value) for name, value in gradients[0].items())
    return {"output_apart": _apart(outputs[1], outputs[0]), "gradient_apart": worst}


def _forget(pack: Pack, layers: nn.ModuleList) -> None:
    pack.und_UH.grad = pack.gen_GH.grad = None
    layers.zero_grad()


def _apart(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double(), expected.double()
    size = expected.square().mean().sqrt().clamp(min=1e-12)
    return float((found - expected).square().mean().sqrt() / size)


def _rounds(bench: Bench, *steps: Callable[[], object]) -> tuple[list[list[float]], list[float | None]]:
    """Seconds of each, taken in turn, and each one's peak memory; two rounds before them are not counted."""
    times: list[list[float]] = [[] for _ in steps]
    peaks: list[float | None] = [None for _ in steps]
    for number in range(bench.repeats + 2):
        for place, step in enumerate(steps):
            bench.peak_gb()
            seconds = bench.time(step)
            peaks[place] = bench.peak_gb()
            if number >= 2:
                times[place].append(seconds)
    return times, peaks
