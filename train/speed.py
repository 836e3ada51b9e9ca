"""How fast a slice of four layers trains: at full 7B widths on a GPU, of the tiny model on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from train.bridge_config import BridgeConfig
from train.build import FLEX_BLOCK, allow_graphs
from train.checkpointing import Checkpointing
from train.config import BAGEL_7B, TINY, ModelConfig
from train.flops import pack_flops, peak
from train.flow import pack_loss
from train.inputs import PackInputs, pack_inputs
from train.layout import Layout, make_layout
from train.model import Bagel
from train.plan import sample_size
from train.segments import Grid, ReferenceTokens, SampleTokens

LAYERS = 4
BRIDGE = BridgeConfig(relevance_layer=0, first_layer=1, last_layer=2, rule="quantile", keep_frac=0.5)
LARGE, SMALL = (Grid(64, 64), Grid(37, 37)), (Grid(32, 32), Grid(37, 37))


def blank_sample(references: int, latent: Grid, vit: Grid) -> SampleTokens:
    """A sample in tokens: so many references of one size, 48 words, a target of the same size."""
    half = ReferenceTokens(latent=latent, vit=vit)
    return SampleTokens(references=[half] * references, text=range(48), targets=[latent])


# Source: facts 3.1
PACKS = {
    "3 references, 1024": [blank_sample(3, *LARGE)],
    "2 samples of 1 reference, 1024": [blank_sample(1, *LARGE)] * 2,
    "2 references and 1, 1024": [blank_sample(2, *LARGE), blank_sample(1, *LARGE)],
    "4 samples of 2 references, 512": [blank_sample(2, *SMALL)] * 4,
}
TINY_PACKS = {
    "2 references and 1, tiny": [
        blank_sample(2, Grid(4, 4), Grid(3, 3)),
        blank_sample(1, Grid(4, 4), Grid(3, 3)),
    ]
}


@dataclass(frozen=True)
class Bench:
    """What is measured, and how: full widths in bfloat16 and flex on a GPU, the tiny model on a CPU.

    Attributes:
        repeats: of every measurement, after two to warm up.
    """

    device: str
    repeats: int

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def config(self) -> ModelConfig:
        whole = BAGEL_7B if self.is_gpu else TINY
        return replace(whole, language=replace(whole.language, layers=LAYERS))

    @property
    def packs(self) -> dict[str, list[SampleTokens]]:
        return PACKS if self.is_gpu else TINY_PACKS

    @property
    def block(self) -> int | None:
        return FLEX_BLOCK if self.is_gpu else None

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.is_gpu else torch.float32

    @property
    def name(self) -> str:
        """Of the device."""
        return torch.cuda.get_device_name() if self.is_gpu else f"{torch.get_num_threads()} CPU threads"

    def time(self, run: Callable[[], object]) -> float:
        """Seconds that a call takes, what it started on the device included."""
        self._wait()
        begin = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()

    def peak_gb(self) -> float | None:
        """Memory of the device since it was last asked."""
        if not self.is_gpu:
            return None
        found = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        torch.cuda.reset_peak_memory_stats()
        return found


def make_slice(bench: Bench, *, is_compiled: bool | None = None) -> Bagel:
    """The slice with random weights, trained as a GPU trains it: compiled, activations made again."""
    allow_graphs()
    torch.manual_seed(0)
    with torch.device(bench.device):
        model = Bagel(bench.config).to(bench.dtype)
    torch.nn.init.normal_(model.llm2vae.weight, std=0.02)
    model.vit_model.requires_grad_(False)
    for layer in model.language_model.model.layers:
        layer.checkpointing = Checkpointing.FULL if bench.is_gpu else Checkpointing.NONE
        if bench.is_gpu if is_compiled is None else is_compiled:
            layer.compile(dynamic=True)
    return model


def make_inputs(samples: Sequence[SampleTokens], bench: Bench) -> tuple[Layout, PackInputs]:
    """A pack of random pixels and latents."""
    config = bench.config
    layout = make_layout(samples, config, bench.block or 1)
    grids, size = (*layout.latent_grids, *layout.target_grids), config.latent.token_size
    inputs = pack_inputs(
        layout,
        patch_VC=torch.randn(len(layout.vit_ids), 3 * config.vision.patch_px**2),
        latent_IC=[torch.randn(grid.size, size) for grid in grids],
        noise_IC=[torch.randn(grid.size, size) for grid in layout.target_grids],
        time=[0.5] * len(layout.target_grids),
        block=bench.block,
        device=bench.device,
    )
    return layout, inputs


def measure(
    bench: Bench, model: Bagel, name: str, samples: Sequence[SampleTokens], bridge: BridgeConfig | None
) -> dict[str, Any]:
    """One line of figures of a pack: forward and backward pass, no optimizer."""
    layout, inputs = make_inputs(samples, bench)

    def once() -> None:
        pack_loss(model(inputs, bridge), inputs, inputs.targets).backward()
        model.zero_grad()

    for _ in range(2):
        once()
    bench.peak_gb()
    times = [bench.time(once) for _ in range(bench.repeats)]
    seconds, tokens = statistics.median(times), sum(sample_size(one).tokens for one in samples)
    best = peak(bench.name) if bench.is_gpu else None
    config = replace(bench.config, autoencoder="dct")  # latents are given: none is encoded, none counted
    flops = pack_flops(config, samples, ("und_layers", "gen_layers"))
    return {
        "pack": name,
        "bridge": bridge is not None,
        "tokens": tokens,
        "rows": layout.rows,
        "ms": round(1000 * seconds, 2),
        "ms_low_high": [round(1000 * min(times), 2), round(1000 * max(times), 2)],
        "tokens_per_s": round(tokens / seconds),
        "mfu": round(flops / seconds / best, 4) if best else None,
        "peak_gb": bench.peak_gb(),
    }
