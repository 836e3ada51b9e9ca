"""What `train.gpu_checks` compares: flex with dense, compiled with plain, a run with one that was stopped."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from train.attention import DensePack, FlexPack, per_sequence
from train.bridge_config import BridgeConfig
from train.build import FLEX_BLOCK, allow_graphs
from train.config import TINY
from train.flow import pack_loss
from train.inputs import pack_inputs
from train.layout import make_layout
from train.masks import token_meta
from train.model import Bagel
from train.segments import Grid
from train.speed import BRIDGE, LAYERS, Bench, blank_sample

SMALL = replace(TINY, language=replace(TINY.language, layers=LAYERS))
STAGES = ("stage1_base", "stage2_und")


def flex_apart(bench: Bench, *, is_bridged: bool) -> dict[str, float]:
    """Largest differences of flex from dense attention: of outputs and, where flex has a backward pass (on
    GPUs), of the gradients of queries, keys and values; in float32.
    """
    generator = torch.Generator().manual_seed(0)
    samples = [blank_sample(2, Grid(9, 7), Grid(6, 5)), blank_sample(1, Grid(11, 11), Grid(8, 8))]
    layout = make_layout(samples, TINY, FLEX_BLOCK)
    is_elsewhere = torch.from_numpy(layout.columns.reference < 0)
    keep_T = is_elsewhere | (torch.rand(layout.rows, generator=generator) < 0.5)
    meta, keep = token_meta(layout).to(torch.device(bench.device)), keep_T.to(bench.device)
    rows = [torch.randn(layout.rows, heads, 16, generator=generator) for heads in (4, 2, 2)]
    is_row = (meta.doc >= 0)[:, None]
    found = []
    for pack in (FlexPack(meta, FLEX_BLOCK), DensePack(meta)):
        given = [row.to(bench.device).requires_grad_(bench.is_gpu) for row in rows]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*flex_attention.*torch.compile.*")
            out = torch.where(is_row, pack.attend(keep if is_bridged else None)(*given), 0.0)
        parts = {"output": out.detach()}
        if bench.is_gpu:
            out.backward(torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out))
            parts |= {f"gradient_{name}": x.grad for name, x in zip("qkv", given, strict=True)}
        found.append(parts)
    return {name: _largest(found[0][name], value) for name, value in found[1].items()}


def _largest(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def vit_apart(bench: Bench) -> dict[str, float]:
    """The ViT's attention over images of five sizes in one call against image by image in float32: the
    largest differences of output and gradients, relative to the largest value.
    """
    lengths, generator = [37 * 37, 1, 16, 255, 900], torch.Generator().manual_seed(0)
    rows = [torch.randn(sum(lengths), 4, 72, generator=generator) for _ in "qkv"]
    found = []
    for dtype in (bench.dtype, torch.float32):
        given = [row.to(bench.device, bench.dtype).to(dtype).requires_grad_() for row in rows]
        out = per_sequence(*given, lengths)
        out.backward(torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out).to(dtype))
        gradients = {f"gradient_{name}": x.grad for name, x in zip("qkv", given, strict=True)}
        found.append({"output": out.detach(), **gradients})
    return {
        name: _largest(found[0][name], value) / float(value.abs().max()) for name, value in found[1].items()
    }


def compiled_apart(bench: Bench) -> dict[str, Any]:
    """The small model with compiled layers against itself without, on packs of four lengths, in float32.

    `new_graphs` are those that packs after the first one needed.
    """
    allow_graphs()
    plain, fast = _small_model(bench), _small_model(bench)
    for layer in fast.language_model.model.layers:
        layer.compile(dynamic=True, backend="inductor" if bench.is_gpu else "aot_eager")
    counts, apart = [], 0.0
    for side in (3, 4, 5, 7):
        samples = [
            blank_sample(2, Grid(side, side), Grid(3, side)),
            blank_sample(1, Grid(4, side), Grid(side, 2)),
        ]
        inputs = _inputs(samples, bench)
        for bridge in (None, BRIDGE):
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # uncompiled flex about itself
                expected = plain(inputs, bridge).velocity_MC[inputs.is_target_M]
            found = fast(inputs, bridge)
            pack_loss(found, inputs, inputs.targets).backward()
            apart = max(apart, _largest(found.velocity_MC[inputs.is_target_M].detach(), expected))
        counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    return {"apart": apart, "graphs": counts[0], "new_graphs": counts[-1] - counts[0]}


def _small_model(bench: Bench) -> Bagel:
    torch.manual_seed(0)
    model = Bagel(SMALL)
    torch.nn.init.normal_(model.llm2vae.weight, std=0.05)
    return model.to(bench.device)


def _inputs(samples: list[Any], bench: Bench) -> Any:  # noqa: ANN401, PackInputs
    layout, generator = make_layout(samples, SMALL, bench.block or 1), torch.Generator().manual_seed(0)
    size = SMALL.latent.token_size

    def tokens(grid: Grid) -> Tensor:
        return torch.randn(grid.size, size, generator=generator)

    return pack_inputs(
        layout,
        patch_VC=torch.randn(len(layout.vit_ids), 3 * SMALL.vision.patch_px**2, generator=generator),
        latent_IC=[tokens(grid) for grid in (*layout.latent_grids, *layout.target_grids)],
        noise_IC=[tokens(grid) for grid in layout.target_grids],
        time=[0.5] * len(layout.target_grids),
        block=bench.block,
        device=bench.device,
    )


def miniature_run(bench: Bench, folder: Path) -> dict[str, Any]:
    """Two stages of a small model on twelve made-up samples, once in one go and once stopped in between."""
    from train.loop import train_stage
    from train.parallel import joined_world
    from train.pretrained import write_tiny
    from train.run import run_stages
    from train.stopping import Stopping

    write_tiny(folder / "base", config=SMALL)
    data = write_samples(folder / "set-000000000000", 12)
    whole, stopped = (_settings(folder / name, folder / "base", data, bench) for name in ("whole", "stopped"))
    run_stages(whole)
    asked = Stopping()
    asked.is_asked = True
    with joined_world(bench.device) as world:
        assert train_stage(stopped, STAGES[0], folder / "base", world, asked) is None
    run_stages(stopped)
    losses, again = (_losses(folder / name) for name in ("whole", "stopped"))
    apart = max(abs(a - b) / abs(a) for a, b in zip(losses, again, strict=True))
    return {
        "losses": [round(loss, 5) for loss in losses],
        "apart_after_a_stop": apart,
        "is_same_after_a_stop": apart <= (5e-3 if bench.is_gpu else 0.0),  # GPUs add in another order
        "is_finite": all(np.isfinite(losses)),
        "pictures": len(list((folder / "whole").rglob("samples/0*.png"))),
    }


def _settings(out: Path, base: Path, data: Path, bench: Bench) -> Any:  # noqa: ANN401, TrainSettings
    from train.settings import TrainSettings

    values: Mapping[str, Any] = {
        "base": str(base),
        "out": str(out),
        "data": {"base": [str(data)], "refined": [str(data)]},
        "stages": STAGES,
        "flavour": "paper",
        "bridge": vars(BridgeConfig(relevance_layer=0, first_layer=1, last_layer=2, threshold=0.05)),
        "budget": 600,
        "packs_per_step": 2,
        "checkpointing": "full" if bench.is_gpu else "none",
        "device": bench.device,
        "loaders": 1,
        "validation": {"samples": 1, "every": 100, "images": 1, "image_steps": 3, "times": [0.5]},
        "overrides": {
            "all": {"steps": 3, "warmup_steps": 0, "lr": 2e-3, "ema": 0.5},
            STAGES[1]: {"data": ["refined"]},
        },
    }
    return TrainSettings.model_validate(values)


def _losses(out: Path) -> list[float]:
    lines = [
        json.loads(line) for name in STAGES for line in (out / name / "log.jsonl").read_text().splitlines()
    ]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def write_samples(path: Path, count: int) -> Path:
    """A finished directory of samples of one and two references, of coloured noise."""
    from shards.index import pack_sample, write_index, write_packed
    from shards.manifest import Manifest, write_manifest
    from shards.sample import Candidate, EncodedImage, Provenance, Sample
    from shards.storage import Storage
    from shards.tar import TarWriter

    def picture(*seed: int) -> EncodedImage:
        pixels, file = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(file, "PNG")
        return EncodedImage(file.getvalue(), "png")

    samples = [
        Sample(
            key=f"made-{number:03d}",
            instruction=f"Put subject {number} in a garden.",
            references=tuple(picture(number, place) for place in range(1 + number % 2)),
            target=picture(number, 9),
            subjects=((Candidate(name="subject"),),) * (1 + number % 2),
            provenance=Provenance(source="made up", licence="CC0-1.0", task="composition"),
        )
        for number in range(count)
    ]
    (path / "shards").mkdir(parents=True)
    (path / "index").mkdir()
    with TarWriter(path / "shards/00000.tar") as writer:
        rows = [write_packed(writer, pack_sample(sample, "made up")) for sample in samples]
    write_index(rows, path / "index/00000.parquet")
    draft = Manifest(name="set", type="made_up", hash="0" * 64, kind="samples", config={})
    write_manifest(Storage(str(path)), draft)
    return path
