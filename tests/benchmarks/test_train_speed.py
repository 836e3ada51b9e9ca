"""How fast a slice of the model trains: four layers at full 7B widths on a GPU, the tiny model on a CPU.

`python tests/benchmarks/test_train_speed.py` on a GPU prints a line for each pack of facts 3.1, with the
bridge off and on: milliseconds, tokens a second, MFU, peak memory. Forward and backward pass; no optimizer.
"""

import json
import statistics
import sys
import time
from dataclasses import replace

import pytest
import torch

from train.attention import pack_attention
from train.bridge_config import BridgeConfig
from train.build import FLEX_BLOCK
from train.checkpointing import Checkpointing
from train.config import BAGEL_7B, TINY
from train.flops import pack_flops, peak
from train.inputs import pack_inputs
from train.layout import make_layout
from train.loop import pack_loss
from train.masks import token_meta
from train.model import Bagel
from train.plan import Pack, sample_size
from train.segments import Grid, Kind, ReferenceTokens, SampleTokens

LAYERS = 4
BRIDGE = BridgeConfig(relevance_layer=0, first_layer=1, last_layer=2, rule="quantile", keep_frac=0.5)
LARGE, SMALL = (Grid(64, 64), Grid(37, 37)), (Grid(32, 32), Grid(37, 37))


def sample(references, latent, vit):
    half = ReferenceTokens(latent=latent, vit=vit)
    return SampleTokens(references=[half] * references, text=range(48), targets=[latent])


PACKS = {
    "3 references, 1024": [sample(3, *LARGE)],
    "2 samples of 1 reference, 1024": [sample(1, *LARGE)] * 2,
    "2 references and 1, 1024": [sample(2, *LARGE), sample(1, *LARGE)],
    "4 samples of 2 references, 512": [sample(2, *SMALL)] * 4,
}
TINY_PACKS = {
    "2 references and 1, tiny": [sample(2, Grid(4, 4), Grid(3, 3)), sample(1, Grid(4, 4), Grid(3, 3))]
}


def make_inputs(samples, config, device, block):
    layout = make_layout(samples, config, block or 1)
    grids = (*layout.latent_grids, *layout.target_grids)
    size = config.latent.token_size
    inputs = pack_inputs(
        layout,
        patch_VC=torch.randn(len(layout.vit_ids), 3 * config.vision.patch_px**2),
        latent_IC=[torch.randn(grid.size, size) for grid in grids],
        noise_IC=[torch.randn(grid.size, size) for grid in layout.target_grids],
        time=[0.5] * len(layout.target_grids),
        block=block,
        device=device,
    )
    return layout, inputs


def measure(name, samples, model, bridge, device, block, repeats):
    """One line of figures."""
    layout, inputs = make_inputs(samples, model.config, device, block)

    def once():
        pack_loss(model(inputs, bridge), inputs, inputs.targets).backward()
        model.zero_grad()

    for _ in range(2):
        once()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = [timed(once, device) for _ in range(repeats)]
    seconds = statistics.median(times)
    sizes = [sample_size(one) for one in samples]
    tokens = sum(size.tokens for size in sizes)
    pairs, targets = sum(s.pairs for s in sizes), sum(s.targets for s in sizes)
    pack = Pack(samples=(), tokens=tokens, pairs=pairs, targets=targets)
    und = int(((layout.columns.kind == Kind.TEXT) | (layout.columns.kind == Kind.VIT)).sum())
    vit = [grid.size for grid in layout.vit_grids]
    # Latents are given, so the autoencoder's share is not run and not counted.
    config = replace(model.config, autoencoder="dct")
    flops = pack_flops(config, pack, und, vit, ("und_layers", "gen_layers"))
    best = peak(torch.cuda.get_device_name()) if device == "cuda" else None
    return {
        "pack": name,
        "bridge": bridge is not None,
        "tokens": tokens,
        "rows": layout.rows,
        "ms": round(1000 * seconds, 2),
        "ms_low_high": [round(1000 * min(times), 2), round(1000 * max(times), 2)],
        "tokens_per_s": round(tokens / seconds),
        "mfu": round(flops / seconds / best, 4) if best else None,
        "peak_gb": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None,
    }


def timed(run, device):
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def make_model(config, device, dtype, checkpointing):
    torch.manual_seed(0)
    with torch.device(device):
        model = Bagel(config).to(dtype)
    torch.nn.init.normal_(model.llm2vae.weight, std=0.02)
    model.vit_model.requires_grad_(False)
    for layer in model.language_model.model.layers:
        layer.checkpointing = checkpointing
        if device == "cuda":
            layer.compile(dynamic=True)
    return model


def run(device, repeats):
    if device == "cuda":
        language = replace(BAGEL_7B.language, layers=LAYERS)
        model = make_model(replace(BAGEL_7B, language=language), device, torch.bfloat16, Checkpointing.FULL)
        packs, block = PACKS, FLEX_BLOCK
    else:
        language = replace(TINY.language, layers=LAYERS)
        model = make_model(replace(TINY, language=language), device, torch.float32, Checkpointing.NONE)
        packs, block = TINY_PACKS, None
    lines = []
    for name, samples in packs.items():
        for bridge in (None, BRIDGE):
            lines.append(measure(name, samples, model, bridge, device, block, repeats))
            print(json.dumps(lines[-1]), flush=True)
    return lines


def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(
        "on", torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    )
    run(device, repeats=20)
    return 0


def test_the_measurement_itself_runs_tiny_on_a_cpu(capsys):
    off, on = run("cpu", repeats=1)
    assert (off["bridge"], on["bridge"]) == (False, True)
    assert (
        off["tokens"]
        == on["tokens"]
        == sum(sample_size(one).tokens for one in next(iter(TINY_PACKS.values())))
    )
    assert off["tokens_per_s"] > 0
    assert "tiny" in capsys.readouterr().out


def test_packs_are_those_of_the_facts():
    sizes = {name: sum(sample_size(one).tokens for one in samples) for name, samples in PACKS.items()}
    assert [round(size / 1000, 1) for size in sizes.values()] == [20.6, 19.2, 24.7, 23.5]


@pytest.mark.bench
def test_building_block_masks_takes_little_of_a_step(capsys):
    layout = make_layout(PACKS["2 references and 1, 1024"], BAGEL_7B, FLEX_BLOCK)
    pack = pack_attention(token_meta(layout), FLEX_BLOCK)
    times = [timed(pack.attend, "cpu") for _ in range(5)]
    with capsys.disabled():
        print(f"block mask of {layout.rows} rows: {1000 * statistics.median(times):.1f} ms on the CPU")


if __name__ == "__main__":
    sys.exit(main())
