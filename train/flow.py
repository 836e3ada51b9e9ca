"""Rectified flow: how noise is timed and mixed in, and what is learnt from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from train.inputs import PackInputs
    from train.model import Prediction

# I images, M target rows, C numbers of a latent token


def shifted(time: Tensor, shift: float) -> Tensor:
    """Move times in [0, 1] towards noise (1).

    >>> shifted(torch.tensor([0.0, 0.5, 1.0]), 3.0)
    tensor([0.0000, 0.7500, 1.0000])
    """
    return shift * time / (1 + (shift - 1) * time)


def draw_time(raw_I: Tensor, shift: float) -> Tensor:
    """Times of targets from standard normal draws. Source: facts 1.7."""
    return shifted(torch.sigmoid(raw_I), shift)


def noisy(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """What the model sees at `time` (broadcast over the last dimension): clean at 0, noise at 1."""
    mix = time[..., None]
    return (1 - mix) * clean + mix * noise


def squared_error(velocity_MC: Tensor, clean_MC: Tensor, noise_MC: Tensor) -> Tensor:
    """Per number, float32; the velocity to learn is noise - clean."""
    return (velocity_MC.float() - (noise_MC.float() - clean_MC.float())) ** 2


def flow_loss(error_MC: Tensor, is_target_M: Tensor, all_targets: int) -> Tensor:
    """This pack's share of the step's loss: its sum over target tokens by the step's number of them.

    Summed over the packs of a step, on however many ranks, it is the mean over the step's target tokens.
    """
    per_token_M = error_MC.mean(-1)
    return torch.where(is_target_M, per_token_M, 0.0).sum() / all_targets


def pack_loss(found: Prediction, inputs: PackInputs, step_targets: int) -> Tensor:
    """A pack's share of its step's mean loss; `step_targets` are the target tokens of all packs and ranks."""
    clean_MC = inputs.clean_GC[len(inputs.clean_GC) - inputs.target_rows :]
    error_MC = squared_error(found.velocity_MC, clean_MC, inputs.noise_MC)
    return flow_loss(error_MC, inputs.is_target_M, step_targets)


def sampling_times(steps: int, shift: float) -> Tensor:
    """The times of `steps` points from noise to image, [steps] float32; `steps - 1` Euler steps."""
    return shifted(torch.linspace(1, 0, steps), shift)
