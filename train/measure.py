"""What is looked at during training beside the loss: held-out losses, sample images, speed, memory."""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from train.batch import Batch
from train.bridge_config import BridgeConfig
from train.config import ModelConfig
from train.dataset import Dataset
from train.draw import Studio, draw
from train.flops import pack_flops, peak
from train.inputs import PackInputs
from train.log import Log
from train.parallel import World, outside_forward
from train.pixels import decode, side_by_side
from train.settings import TrainSettings
from train.validate import share, some_of_each, validate


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Held-out samples, looked at at intervals.

    Attributes:
        encode: puts a batch on the device.
    """

    settings: TrainSettings
    data: Dataset
    studio: Studio
    bridge: BridgeConfig | None
    world: World
    encode: Callable[[Batch], PackInputs]

    def losses(self, log: Log, done: int, weights: str) -> None:
        """Validation losses after `done` steps; see `train.validate`.

        Args:
            weights: what is measured, `ema` or `raw`.
        """
        if not self.data.held:
            return
        times = self.settings.validation.times
        found = validate(
            self.studio.model,
            self.data.held,
            lambda place: self.data.held_batch(place, times),
            self.encode,
            times,
            self.bridge,
            self.world,
        )
        log.write("held", done, {"weights": weights, **found})
        log.say(f"  after step {done}: held-out loss {found['loss']:.4f} ({weights} weights)")

    def images(self, log: Log, done: int) -> None:
        """Held-out samples of every directory drawn as pictures, spread over the ranks."""
        some = some_of_each(self.data.held, self.settings.validation.images)
        # Compiled layers are for packs; the sampler's caches would compile them anew for every layer.
        with outside_forward(self.studio.model), torch.compiler.set_stance("force_eager"):
            for place, is_counted in share(self.world, some):
                sample = self.data.sources[place.source].read(place)
                references = [decode(image, f"sample {sample.key}") for image in sample.references]
                size, sampler = place.sizes[-1], self.settings.sampler()
                image = draw(
                    self.studio,
                    references,
                    sample.instruction,
                    size,
                    sample.key,
                    sampler,
                    self.bridge,
                    self.settings.seed,
                )
                if is_counted:
                    log.picture(place.key, done, image)
                    if done <= self.settings.validation.every:
                        target = decode(sample.target, f"sample {sample.key}")
                        log.picture(place.key, None, side_by_side([*references, target], image.height))


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """Speed against the machine's peak, and memory.

    Attributes:
        trains: groups whose own weights train; none with adapters.
    """

    config: ModelConfig
    trains: Collection[str]
    world: World

    def flops(self, batch: Batch) -> float:
        """Operations of a pack; 0 where the device's peak is not known."""
        return 0.0 if self.peak is None else pack_flops(self.config, batch.samples, self.trains)

    @property
    def peak(self) -> float | None:
        """Operations a second of the device, from its data sheet."""
        is_gpu = self.world.device.type == "cuda"
        return peak(torch.cuda.get_device_name(self.world.device)) if is_gpu else None

    def add(self, values: dict[str, float]) -> dict[str, float]:
        """The values with MFU and memory; no MFU where the peak is not known."""
        flops = values.pop("flops_per_s_per_rank")
        found = values | {"host_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
        if self.peak is not None:
            found["mfu"] = flops / self.peak
        if self.world.device.type == "cuda":
            found["device_gb"] = torch.cuda.max_memory_allocated(self.world.device) / 2**30
        return found
