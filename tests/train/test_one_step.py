"""A step of the loop against the same step by hand: runs compared with runs notice no lost setting."""

import copy
from itertools import islice
from pathlib import Path

import pytest
import torch

from train.loop import read, take_step
from train.meter import Meter
from train.parallel import joined_world
from train.stage_run import open_run
from training_runs import settings

LR, BETAS, EPS, DECAY, CLIP, EMA = 3e-3, (0.6, 0.7), 1e-3, 0.2, 0.05, 0.3
CHOSEN = {
    "steps": 10,
    "warmup_steps": 3,
    "lr": LR,
    "betas": BETAS,
    "eps": EPS,
    "weight_decay": DECAY,
    "clip_norm": CLIP,
    "ema": EMA,
    "data": ["base"],
}


class ByHand:
    """AdamW over the mean squared error of a step's target tokens, clipped to a norm; and a running mean."""

    def __init__(self, run):
        self.run, self.twin = run, copy.deepcopy(run.model)
        self.weights = {n: p for n, p in self.twin.named_parameters() if n in run.parameters}
        self.sums = {n: (torch.zeros_like(p), torch.zeros_like(p)) for n, p in self.weights.items()}
        self.means = {n: p.detach().clone() for n, p in self.weights.items()}

    def loss(self, batches):
        """The mean over all target tokens of all packs."""
        errors = []
        for batch in batches:
            inputs = self.run.encode(batch)
            found = self.twin(inputs, self.run.bridge).velocity_MC
            clean = inputs.clean_GC[-len(found) :]
            errors.append((found - (inputs.noise_MC - clean)).square().mean(1)[inputs.is_target_M])
        return torch.cat(errors).mean()

    def step(self, number, batches):
        """Take a step (from 0); its loss and the gradients' norm."""
        loss = self.loss(batches)
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        norm = torch.stack([g.norm() for g in gradients]).norm()
        lr, keep = LR * min(1, (number + 1) / 4), min(EMA, (1 + number) / (10 + number))
        with torch.no_grad():
            for (name, weight), gradient in zip(self.weights.items(), gradients, strict=True):
                g, (first, second) = gradient * min(1, CLIP / norm), self.sums[name]
                first.mul_(BETAS[0]).add_(g, alpha=1 - BETAS[0])
                second.mul_(BETAS[1]).add_(g * g, alpha=1 - BETAS[1])
                unbiased = [
                    s / (1 - beta ** (number + 1)) for s, beta in zip((first, second), BETAS, strict=True)
                ]
                weight.mul_(1 - lr * DECAY).sub_(lr * unbiased[0] / (unbiased[1].sqrt() + EPS))
                self.means[name].mul_(keep).add_(weight, alpha=1 - keep)
        return float(loss.detach()), float(norm)


@pytest.mark.parametrize("stage", ["stage1_base", "stage2_joint"])
def test_steps_are_those_by_hand(data, tiny, tmp_path, stage):
    chosen = settings(data, tiny, tmp_path, stages=[stage], overrides={"all": CHOSEN})
    with joined_world("cpu") as world:
        run = open_run(chosen, stage, Path(tiny), world)
        assert (run.bridge is None) == (stage == "stage1_base")
        meter, by_hand = Meter(world), ByHand(run)
        for number, step in enumerate(islice(run.plan.steps(), 5)):
            batches = [run.data.training_batch(step, place, pack) for place, pack in enumerate(step.packs)]
            loss, norm = by_hand.step(number, batches)
            assert float(take_step(run, step, batches, meter)) == pytest.approx(norm, rel=1e-4)
            assert norm > CLIP
            meter.add_step(0.0)
            values, is_stopped = read(run, step, torch.tensor(norm), meter, is_stopping=False)
            assert not is_stopped
            assert values["loss"] == pytest.approx(loss, rel=1e-5)
            assert values["lr"] == pytest.approx(LR * min(1, (number + 1) / 4))
            for name, weight in run.parameters.items():
                torch.testing.assert_close(weight.detach(), by_hand.weights[name].detach(), atol=2e-5, rtol=0)
                torch.testing.assert_close(run.ema.means[name], by_hand.means[name], atol=2e-5, rtol=0)
