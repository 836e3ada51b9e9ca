"""One stage of training, from a base model's directory to a fine-tuned one. Reads top to bottom."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from shards.listing import listing_digest
from shards.storage import Storage
from train.batch import Batch, to_device
from train.bridge_config import BridgeConfig
from train.build import build_model, compute_dtype, flex_block
from train.checkpoint import check_same, restore, save, versions
from train.config_files import read_config
from train.dataset import Dataset, open_dataset
from train.draw import Studio
from train.ema import Ema
from train.flow import pack_loss
from train.groups import ADAPTER, line_text, table_text, training_table
from train.inputs import PackInputs
from train.loader import load_steps
from train.log import Log
from train.lora import merged
from train.measure import Gauge, Measure
from train.meter import Meter
from train.model import Bagel
from train.optimizer import make_optimizer, optimizer_state, set_lr
from train.parallel import World
from train.plan import Plan
from train.pretrained import export_model, load_autoencoder
from train.settings import TINY_BASE, TrainSettings
from train.stages import Stage, warmed_lr
from train.stopping import Stopping
from train.tokenizer import load_tokenizer
from train.weights import weight_file, whole_tensor

COLLECT_EVERY = 1000  # steps


def train_stage(  # noqa: C901 - the algorithm, in one straight line
    settings: TrainSettings, name: str, base: Path, world: World, stopping: Stopping
) -> Path | None:
    """Train one stage, or go on with it; return the directory of its model, None where it was stopped."""
    stage, folder, config = settings.stage(name), Path(settings.out) / name, read_config(base)
    bridge, block = settings.bridge_of(stage), flex_block(world.device)
    tokenizer = load_tokenizer(base, config)
    data = open_dataset(settings, stage, config, tokenizer, world, block or 1)
    run, about = _run_facts(settings, stage, bridge, base, data), folder / "model" / "bakery.json"
    if about.exists():
        check_same(folder, json.loads(about.read_text("utf-8"))["train"], run)
        return folder / "model"

    plan = data.plan(settings).check()
    compute = compute_dtype(settings, world)
    autoencoder = load_autoencoder(base, config, world.device, compute)
    model, parameters = build_model(settings, stage, base, config, world, compute)
    optimizer = make_optimizer(parameters, stage, getattr(torch, settings.moments))
    ema = Ema(parameters, stage.ema) if stage.ema else None
    state: dict[str, Any] = {"weights": dict(parameters), "optimizer": optimizer_state(optimizer, parameters)}
    if ema is not None:
        state["ema"] = ema.means
    first = restore(folder / "checkpoints", state, run)

    def encode(batch: Batch) -> PackInputs:
        return to_device(batch, autoencoder, config, world.device, block)

    studio = Studio(
        model=model,
        autoencoder=autoencoder,
        tokenizer=tokenizer,
        config=config,
        device=world.device,
    )
    measure = Measure(settings=settings, data=data, studio=studio, bridge=bridge, world=world, encode=encode)
    gauge = Gauge(config=config, trains=() if settings.lora else stage.trains, world=world)

    with Log(folder, is_written=world.is_first) as log, stopping, uncollected():
        log.say(f"{name}: {len(data.training)} samples, {len(data.held)} held out, fill {plan.fill():.3f}")
        log.write("data", first, data.counts())
        rows = training_table(_sizes(model), parameters.keys(), config.language.layers)
        log.say(f"  {line_text(rows)}" if settings.base == TINY_BASE else table_text(rows))
        rehearse(model, data, plan, encode, bridge, passes=min(2, settings.packs_per_step // world.size))
        optimizer.zero_grad()
        meter, begin_s = Meter(world), time.perf_counter()
        gc.collect()

        for step, batches in load_steps(
            plan, first, stage.steps, world, data.training_batch, settings.loaders
        ):
            waited_s = time.perf_counter() - begin_s
            set_lr(optimizer, warmed_lr(stage, step.number))
            for batch in batches:
                inputs = encode(batch)
                found = model(inputs, bridge)
                loss = pack_loss(found, inputs, step.targets)
                loss.backward()
                meter.add_pack(loss, found.stats, batch.tokens, gauge.flops(batch))
            norm = clip_gradients(parameters, stage.clip_norm)
            torch._assert_async(norm.isfinite(), f"step {step.number}: gradient norm is not finite")
            optimizer.step()
            optimizer.zero_grad()
            if ema is not None:
                ema.update(step.number)
            meter.add_step(waited_s)
            done, is_last = step.number + 1, step.number + 1 == stage.steps

            if done % settings.log_every == 0 or is_last:
                values, is_stopped = meter.read(is_stopping=stopping.is_asked)
                lr = warmed_lr(stage, step.number)
                log.write(
                    "train", done, {**gauge.add(values), "lr": lr, "norm": norm.item(), "epoch": step.epoch}
                )
                stopping.is_agreed = is_stopped
            trained_s = time.perf_counter()
            if done % settings.validation.every == 0 or is_last:
                measure.losses(log, done)
                measure.images(log, done)
            if done % COLLECT_EVERY == 0:
                gc.collect()
            if done % settings.save_every == 0 or is_last or stopping.is_agreed:
                about = {"run": run, "settings": settings.model_dump(mode="json"), "versions": versions()}
                save(folder / "checkpoints", done, state, about, settings.keep, world)
            meter.forget(time.perf_counter() - trained_s)
            if stopping.is_agreed and not is_last:
                log.say(f"{name}: stopped after step {done}; run the same command to go on")
                return None
            begin_s = time.perf_counter()

    if ema is not None:
        ema.apply()
    about = {
        "train": {**run, "versions": versions()},
        "bridge": None if bridge is None else dict(vars(bridge)),
    }
    tensors = {key: value for key, value in model.state_dict().items() if ADAPTER not in key}
    export_model(
        tensors, base, folder / "model", config, about, gather=lambda key, value: merged(model, key, value)
    )
    world.wait()
    return folder / "model"


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would stop ranks at different moments."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def clip_gradients(parameters: Mapping[str, nn.Parameter], most: float) -> Tensor:
    """Scale all gradients down to a joint norm of `most`; return the norm before."""
    return whole_tensor(clip_grad_norm_(list(parameters.values()), most))


def rehearse(
    model: Bagel,
    data: Dataset,
    plan: Plan,
    encode: Callable[[Batch], PackInputs],
    bridge: BridgeConfig | None,
    passes: int,
) -> None:
    """The dearest pack, forward and backward: if memory does not suffice, it fails here.

    Args:
        passes: 2 where gradients add up over packs: the second one has them to hold from its beginning.

    Raises:
        torch.OutOfMemoryError: with what to change.
    """
    pack = plan.dearest()
    try:
        inputs = encode(data.rehearsal_batch(pack))
        for _ in range(passes):
            pack_loss(model(inputs, bridge), inputs, pack.targets).backward()
    except torch.OutOfMemoryError as error:
        error.add_note(
            f"the dearest pack has {pack.tokens} tokens of a budget of {plan.budget}: lower budget, set "
            "checkpointing: full, train with lora, or use more ranks"
        )
        raise


def _sizes(model: nn.Module) -> dict[str, int]:
    return {name: parameter.numel() for name, parameter in model.named_parameters()}


def _base_name(base: Path, out: Path) -> str:
    """What a stage starts from: a place in the run's own directory, which may move, or what the weights are.

    Never a path outside: the same run may be given another one, and the exported model says this name.
    """
    if base.is_relative_to(out):
        return str(base.relative_to(out))
    file = weight_file(base)
    return listing_digest(Storage(str(base)), {file.name: file.stat().st_size})


def _run_facts(
    settings: TrainSettings, stage: Stage, bridge: BridgeConfig | None, base: Path, data: Dataset
) -> dict[str, Any]:
    """What must stay as it is for a resumed run to be the same run. The number of ranks may change."""
    return {
        "base": _base_name(base, Path(settings.out)),
        "stage": stage.model_dump(mode="json"),
        "bridge": None if bridge is None else dict(vars(bridge)),
        "data": [source.given for source in data.sources],
        "samples": len(data.training),
        **{
            name: getattr(settings, name)
            for name in ("seed", "budget", "packs_per_step", "window", "moments")
        },
        "lora": settings.lora and settings.lora.model_dump(),
    }
