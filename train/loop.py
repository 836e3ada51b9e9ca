"""One stage of training, from a base model's directory to a fine-tuned one. Reads top to bottom."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from train.batch import Batch
from train.flow import pack_loss
from train.groups import line_text, table_text, training_table
from train.loader import load_steps
from train.log import Log
from train.meter import Meter
from train.optimizer import set_lr
from train.page import write_page
from train.parallel import World
from train.plan import Step
from train.progress import Progress
from train.settings import TINY_BASE, TrainSettings
from train.stage_run import StageRun, made_model, open_run
from train.stages import warmed_lr
from train.stopping import Stopping
from train.weights import whole_tensor

COLLECT_EVERY = 1000  # steps


def train_stage(
    settings: TrainSettings, name: str, base: Path, world: World, stopping: Stopping
) -> Path | None:
    """Train one stage, or go on with it; return the directory of its model, None where it was stopped."""
    if made := made_model(settings, name, base, world):
        return made

    world.wait_at_most(settings.load_timeout_s)
    run = open_run(settings, name, base, world)
    first, steps = run.restore(), run.stage.steps
    with Log(run.folder, first, is_written=world.is_first) as log, stopping, uncollected():
        introduce(run, log, first)
        rehearse(run)
        meter, progress, begin_s = Meter(world), Progress(first, steps), time.perf_counter()
        gc.collect()

        for step, batches in load_steps(
            run.plan, first, steps, world, run.data.training_batch, settings.loaders
        ):
            waited_s = time.perf_counter() - begin_s
            norm = take_step(run, step, batches, meter)
            meter.add_step(waited_s)
            done, is_last = step.number + 1, step.number + 1 == steps
            if done == first + 1:
                world.wait_at_most(settings.step_timeout_s)
            if done % settings.log_every == 0 or is_last:
                values, stopping.is_agreed = read(run, step, norm, meter, is_stopping=stopping.is_asked)
                log.write("train", done, values)
                log.say(progress.line(done, values))
            trained_s = time.perf_counter()
            if done % settings.validation.every == 0 or is_last:
                with run.measured_weights() as weights:
                    run.measure.losses(log, done, weights)
                    run.measure.images(log, done)
                if world.is_first:
                    write_page(Path(settings.out), settings.stages)
            if done % COLLECT_EVERY == 0:
                gc.collect()
            if done % settings.save_every == 0 or is_last or stopping.is_agreed:
                run.save(done)
            meter.forget(time.perf_counter() - trained_s)
            if stopping.is_agreed and not is_last:
                log.say(f"{name}: stopped after step {done}; run the same command to go on")
                return None
            begin_s = time.perf_counter()

    world.wait_at_most(settings.load_timeout_s)
    return run.export()


def introduce(run: StageRun, log: Log, first: int) -> None:
    """What trains, and on what."""
    data, sizes = run.data, {name: value.numel() for name, value in run.model.named_parameters()}
    log.say(
        f"{run.stage.name}: {len(data.training)} samples, {len(data.held)} held out, "
        f"fill {run.plan.fill():.3f}"
    )
    log.write("data", first, data.counts())
    rows = training_table(sizes, run.parameters.keys(), run.config.language.layers)
    log.say(f"  goes on after step {first:,}" if first else None)
    log.say(f"  {line_text(rows)}" if run.settings.base == TINY_BASE else table_text(rows))


def rehearse(run: StageRun) -> None:
    """The dearest pack, forward and backward: if memory does not suffice, it fails here.

    Twice where gradients add up over packs: the second one has them to hold from its beginning.

    Raises:
        torch.OutOfMemoryError: with what to change.
    """
    pack, passes = run.plan.dearest(), min(2, run.settings.packs_per_step // run.world.size)
    try:
        inputs = run.encode(run.data.rehearsal_batch(pack))
        for _ in range(passes):
            pack_loss(run.model(inputs, run.bridge), inputs, pack.targets).backward()
    except torch.OutOfMemoryError as error:
        error.add_note(
            f"the dearest pack has {pack.tokens} tokens of a budget of {run.plan.budget}: lower budget, set "
            "checkpointing: full, train with lora, or use more ranks"
        )
        raise
    run.optimizer.zero_grad()


def take_step(run: StageRun, step: Step, batches: Sequence[Batch], meter: Meter) -> Tensor:
    """One optimizer step over this rank's packs; the gradients' norm before clipping."""
    set_lr(run.optimizer, warmed_lr(run.stage, step.number))
    for batch in batches:
        inputs = run.encode(batch)
        found = run.model(inputs, run.bridge)
        loss = pack_loss(found, inputs, step.targets)
        loss.backward()
        meter.add_pack(loss, found.stats, batch.tokens, run.gauge.flops(batch))
    norm = clip_gradients(run.parameters, run.stage.clip_norm)
    torch._assert_async(norm.isfinite(), f"step {step.number}: gradient norm is not finite")
    run.optimizer.step()
    run.optimizer.zero_grad()
    if run.ema is not None:
        run.ema.update(step.number)
    return norm


def read(
    run: StageRun, step: Step, norm: Tensor, meter: Meter, *, is_stopping: bool
) -> tuple[dict[str, float], bool]:
    """The figures since the last reading, and whether any rank is to stop."""
    values, is_stopped = meter.read(is_stopping=is_stopping)
    lr = warmed_lr(run.stage, step.number)
    return {**run.gauge.add(values), "lr": lr, "norm": norm.item(), "epoch": step.epoch}, is_stopped


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
