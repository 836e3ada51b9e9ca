"""Held-out losses by hand: by time and by number of references, with the bridge and without."""

from pathlib import Path

import pytest
import torch

from train.parallel import joined_world
from train.stage_run import open_run
from train.validate import validate
from training_runs import settings

TIMES = (0.3, 0.8, 0.5)


@torch.no_grad()
def by_hand(run, place, bridge):
    """The loss of a sample at each time."""
    batch = run.data.held_batch(place, TIMES)
    inputs = run.encode(batch)
    found = run.model(inputs, bridge).velocity_MC
    off = (found - (inputs.noise_MC - inputs.clean_GC[-len(found) :])).square().mean(1)[inputs.is_target_M]
    return [float(part.mean()) for part in off.split([grid.size for grid in batch.layout.target_grids])]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("stage", ["stage1_base", "stage2_und"])
def test_each_figure_is_the_mean_of_what_it_names(data, tiny, tmp_path, stage):
    chosen = settings(data, tiny, tmp_path, stages=[stage])
    with joined_world("cpu") as world:
        run = open_run(chosen, stage, Path(tiny), world)
        torch.nn.init.normal_(run.model.llm2vae.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        held = [*run.data.held, *run.data.training[:3]]
        found = validate(
            run.model, held, lambda p: run.data.held_batch(p, TIMES), run.encode, TIMES, run.bridge, world
        )
        numbers = {len(place.sizes) - 1 for place in held}
        assert len(numbers) > 1
        modes = {"": None} | ({"bridge_": run.bridge} if run.bridge else {})
        assert len(found) == len(modes) * (1 + len(TIMES) + len(numbers))
        for mode, bridge in modes.items():
            losses = {place: by_hand(run, place, bridge) for place in held}
            every = [loss for each in losses.values() for loss in each]
            assert found[f"{mode}loss"] == pytest.approx(mean(every), rel=1e-5)
            for number, time in enumerate(TIMES):
                expected = mean([each[number] for each in losses.values()])
                assert found[f"{mode}loss_t{time}"] == pytest.approx(expected, rel=1e-5)
            for count in numbers:
                own = [
                    loss for place, each in losses.items() if len(place.sizes) - 1 == count for loss in each
                ]
                assert found[f"{mode}loss_refs{count}"] == pytest.approx(mean(own), rel=1e-5)
        if run.bridge:
            assert found["bridge_loss"] != found["loss"]
