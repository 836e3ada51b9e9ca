"""What a stage trains with, opened once: data, model, optimizer, means; how its state is kept and left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from shards.listing import listing_digest
from shards.storage import Storage
from train.batch import Batch, to_device
from train.bridge_config import BridgeConfig
from train.build import build_model, compute_dtype, flex_block
from train.checkpoint import FOLDER, check_same, restore, save, versions
from train.config import ModelConfig
from train.config_files import OWN_FILE, read_config
from train.dataset import Dataset, open_dataset
from train.draw import Studio
from train.ema import Ema
from train.groups import ADAPTER
from train.inputs import PackInputs
from train.lora import merged
from train.measure import Gauge, Measure
from train.model import Bagel
from train.optimizer import make_optimizer, optimizer_state
from train.parallel import World, reshard
from train.plan import Plan
from train.pretrained import export_model, load_autoencoder
from train.settings import TrainSettings
from train.shared_folder import wait_until_seen
from train.stages import Stage
from train.tokenizer import load_tokenizer
from train.weights import weight_file


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """One stage on this rank.

    Attributes:
        base: directory of the model it starts from.
        parameters: those that train, by name.
        ema: none where the stage keeps no mean.
        facts: what must stay as it is for a resumed run to be the same run.
    """

    settings: TrainSettings
    stage: Stage
    base: Path
    world: World
    config: ModelConfig
    bridge: BridgeConfig | None
    data: Dataset
    plan: Plan
    studio: Studio
    parameters: dict[str, nn.Parameter]
    optimizer: AdamW
    ema: Ema | None
    facts: dict[str, Any]

    @property
    def folder(self) -> Path:
        return Path(self.settings.out) / self.stage.name

    @property
    def model(self) -> Bagel:
        return self.studio.model

    @property
    def measure(self) -> Measure:
        return Measure(
            settings=self.settings,
            data=self.data,
            studio=self.studio,
            bridge=self.bridge,
            world=self.world,
            encode=self.encode,
        )

    @property
    def gauge(self) -> Gauge:
        trains = () if self.settings.lora else self.stage.trains
        return Gauge(config=self.config, trains=trains, world=self.world)

    def encode(self, batch: Batch) -> PackInputs:
        """A batch on the device, its images as latents."""
        device = self.world.device
        return to_device(batch, self.studio.autoencoder, self.config, device, flex_block(device))

    @contextmanager
    def measured_weights(self) -> Iterator[str]:
        """Look at the weights that the export will hold: the means where there are some; their name."""
        if self.ema is None:
            yield "raw"
            return
        # What FSDP has gathered (it leaves the root so after a pass without gradients) is of other weights.
        reshard(self.model)
        with self.ema.in_place():
            try:
                yield "ema"
            finally:
                reshard(self.model)

    def restore(self) -> int:
        """Go on from the last checkpoint; its steps, 0 where there is none."""
        return restore(self.folder / FOLDER, self._state(), self.facts, self.world)

    def save(self, done: int) -> None:
        """Write a checkpoint after so many steps."""
        about = {
            "run": self.facts,
            "settings": self.settings.model_dump(mode="json"),
            "versions": versions(),
        }
        save(self.folder / FOLDER, done, self._state(), about, self.settings.keep, self.world)

    def export(self) -> Path:
        """Write the trained model (the means, where there are some) and return its directory."""
        if self.ema is not None:
            self.ema.apply()
        about = {
            "train": {**self.facts, "versions": versions()},
            "bridge": None if self.bridge is None else dict(vars(self.bridge)),
        }
        model, into = self.model, self.folder / "model"
        tensors = {key: value for key, value in model.state_dict().items() if ADAPTER not in key}
        export_model(
            tensors, self.base, into, self.config, about, gather=lambda key, value: merged(model, key, value)
        )
        self.world.wait()
        return wait_until_seen(into / OWN_FILE).parent

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "weights": dict(self.parameters),
            "optimizer": optimizer_state(self.optimizer, self.parameters),
        }
        return state if self.ema is None else state | {"ema": self.ema.means}


def made_model(settings: TrainSettings, name: str, base: Path, world: World) -> Path | None:
    """Directory of the model that an earlier run made of a stage; None where there is none.

    Raises:
        ConfigError: it was made with other settings or data.
    """
    folder, stage = Path(settings.out) / name, settings.stage(name)
    about = folder / "model" / OWN_FILE
    if not world.agreed(about.exists()):
        return None
    wait_until_seen(about)
    facts = _run_facts(settings, stage, base, _open_data(settings, stage, base, world))
    check_same(folder, json.loads(about.read_text("utf-8"))["train"], facts)
    return folder / "model"


def _open_data(settings: TrainSettings, stage: Stage, base: Path, world: World) -> Dataset:
    config = read_config(base)
    block = flex_block(world.device) or 1
    return open_dataset(settings, stage, config, load_tokenizer(base, config), world, block)


def open_run(settings: TrainSettings, name: str, base: Path, world: World) -> StageRun:
    """Open a stage's data and build its model; nothing is restored yet.

    Raises:
        ConfigError: the data cannot be read, or does not fit the budget.
    """
    stage, config = settings.stage(name), read_config(base)
    tokenizer, compute = load_tokenizer(base, config), compute_dtype(settings, world)
    data = _open_data(settings, stage, base, world)
    plan = data.plan(settings).check()
    autoencoder = load_autoencoder(base, config, world.device, compute)
    model, parameters = build_model(settings, stage, base, config, world, compute)
    studio = Studio(
        model=model, autoencoder=autoencoder, tokenizer=tokenizer, config=config, device=world.device
    )
    return StageRun(
        settings=settings,
        stage=stage,
        base=base,
        world=world,
        config=config,
        bridge=settings.bridge_of(stage),
        data=data,
        plan=plan,
        studio=studio,
        parameters=parameters,
        optimizer=make_optimizer(parameters, stage, getattr(torch, settings.moments)),
        ema=Ema(parameters, stage.ema) if stage.ema else None,
        facts=_run_facts(settings, stage, base, data),
    )


def _base_name(base: Path, out: Path) -> str:
    """What a stage starts from: a place in the run's own directory, which may move, or what the weights are.

    Never a path outside: the same run may be given another one, and the exported model says this name.
    """
    if base.is_relative_to(out):
        return str(base.relative_to(out))
    file = weight_file(base)
    return listing_digest(Storage(str(base)), {file.name: file.stat().st_size})


def _run_facts(settings: TrainSettings, stage: Stage, base: Path, data: Dataset) -> dict[str, Any]:
    """What must stay as it is for a resumed run to be the same run. The number of ranks may change."""
    bridge = settings.bridge_of(stage)
    return {
        "base": _base_name(base, Path(settings.out)),
        "stage": stage.model_dump(mode="json"),
        "bridge": None if bridge is None else dict(vars(bridge)),
        "data": [source.given for source in data.sources],
        "samples": len(data.training),
        **{
            name: getattr(settings, name)
            for name in ("seed", "budget", "packs_per_step", "window", "precision", "moments")
        },
        "lora": settings.lora and settings.lora.model_dump(),
    }
