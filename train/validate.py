"""Loss on held-out samples: by time and number of references, with and without the bridge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, cycle, islice, zip_longest

import torch
from torch import Tensor

from train.batch import Batch
from train.bridge_config import BridgeConfig
from train.flow import squared_error
from train.inputs import PackInputs
from train.model import Bagel
from train.parallel import World
from train.source import Place

MOST_FRAC = 0.1  # of a data set is held out at most
MOST_REFERENCES = 8


def hold_out(keys: Iterable[str], count: int) -> list[str]:
    """Keys of a data set that are held out, in order; chosen by the keys alone, the same in every run."""
    ordered = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    return ordered[: min(count, int(len(ordered) * MOST_FRAC))]


def some_of_each(places: Sequence[Place], count: int) -> list[Place]:
    """So many places, the first ones of every directory in turn."""
    directories: dict[int, list[Place]] = {}
    for place in places:
        directories.setdefault(place.source, []).append(place)
    turns = chain.from_iterable(zip_longest(*directories.values()))
    return list(islice((place for place in turns if place is not None), count))


def share(world: World, places: Sequence[Place]) -> list[tuple[Place, bool]]:
    """This rank's part, as long as every other rank's; whether each counts (repeated ones do not)."""
    each = -(-len(places) // world.size) if places else 0
    padded = islice(zip(cycle(places), cycle([0]), strict=False), each * world.size) if places else []
    numbered = [(place, number < len(places)) for number, (place, _) in enumerate(padded)]
    return numbered[world.rank :: world.size]


@torch.no_grad()
def validate(
    model: Bagel,
    held: Sequence[Place],
    make: Callable[[Place], Batch],
    encode: Callable[[Batch], PackInputs],
    times: tuple[float, ...],
    bridge: BridgeConfig | None,
    world: World,
) -> dict[str, float]:
    """Mean losses over held-out samples, all ranks' together.

    Args:
        model: to measure.
        held: the samples.
        make: a sample's batch, one target for each of `times`.
        encode: puts a batch on the device.
        times: the time bins.
        bridge: measured beside the model without it; None measures that alone.
        world: the processes.
    """
    modes = {"": None} if bridge is None else {"": None, "bridge_": bridge}
    # [mode, references, time, (sum, count)]
    table = torch.zeros(
        len(modes), MOST_REFERENCES + 1, len(times), 2, dtype=torch.float64, device=world.device
    )
    for place, is_counted in share(world, held):
        inputs = encode(make(place))
        references = min(len(place.sizes) - 1, MOST_REFERENCES)
        for number, mode in enumerate(modes.values()):
            losses = losses_by_target(model, inputs, mode)
            if is_counted:
                table[number, references, :, 0] += losses
                table[number, references, :, 1] += 1
    return _means(world.total(table), list(modes), times)


def losses_by_target(model: Bagel, inputs: PackInputs, bridge: BridgeConfig | None) -> Tensor:
    """The loss of each target image of a pack."""
    found = model(inputs, bridge)
    rows = inputs.target_rows
    clean_MC, image_M = inputs.clean_GC[-rows:], inputs.image_G[-rows:]
    error_M = squared_error(found.velocity_MC, clean_MC, inputs.noise_MC).mean(-1).double()
    weight_M = inputs.is_target_M.double()
    images = len(inputs.time_I)
    sums = torch.zeros(images, dtype=torch.float64, device=error_M.device)
    counts = sums.clone().index_add(0, image_M, weight_M)
    losses = sums.index_add(0, image_M, error_M * weight_M) / counts
    return losses[counts > 0]


def _means(table: Tensor, modes: Iterable[str], times: tuple[float, ...]) -> dict[str, float]:
    found = {}
    for number, prefix in enumerate(modes):
        by_time, by_references = table[number].sum(0), table[number].sum(1)
        found[f"{prefix}loss"] = _mean(table[number].sum((0, 1)))
        found |= {f"{prefix}loss_t{time:g}": _mean(row) for time, row in zip(times, by_time, strict=True)}
        found |= {
            f"{prefix}loss_refs{count}": _mean(row) for count, row in enumerate(by_references) if row[1] > 0
        }
    return found


def _mean(sum_count: Tensor) -> float:
    total, count = sum_count.tolist()
    return total / count if count else float("nan")
