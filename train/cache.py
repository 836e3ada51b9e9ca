"""Keys and values of a sampler's contexts: written once, with room at the end for the image being drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from train.attention import Attend, attend_whole
from train.bridge import keep_mask, relevance
from train.bridge_config import BridgeConfig
from train.inputs import PackInputs
from train.model import Bagel

# T rows of the contexts, c rows of one, n latent tokens of the image, N heads, D head size


@dataclass
class Branch:
    """One context: per layer, keys and values [c + 2 + n, N, D]; the last 2 + n are the image's own.

    Attributes:
        rows: which rows of the prefill are its context.
        position: of the image.
        hidden: per layer, how many keys at the front the image's latents do not see (the bridge's);
            its two boundary tokens see them, as in training.
    """

    rows: Tensor
    position: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)

    def add_layer(self, k_TND: Tensor, v_TND: Tensor, own: int, keep_T: Tensor | None) -> None:
        """Copy this context's rows of a layer, hidden ones first, and leave room for `own` rows."""
        rows, hidden = self.rows, 0
        if keep_T is not None:
            is_kept = keep_T[rows]
            rows, hidden = torch.cat([rows[~is_kept], rows[is_kept]]), int((~is_kept).sum())
        for store, source in ((self.keys, k_TND), (self.values, v_TND)):
            room = source.new_empty(len(rows) + own, *source.shape[1:])
            torch.index_select(source, 0, rows, out=room[: len(rows)])
            store.append(room)
        self.hidden.append(hidden)


@dataclass
class _Recording:
    """Attention that also remembers what it was given."""

    attend: Attend
    keys: Tensor = field(init=False)
    values: Tensor = field(init=False)

    def __call__(self, q_TND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor:
        self.keys, self.values = k_TND, v_TND
        return self.attend(q_TND, k_TND, v_TND)


def prefill(
    model: Bagel,
    inputs: PackInputs,
    attend: Attend,
    branches: list[Branch],
    own: int,
    bridge: BridgeConfig | None,
) -> None:
    """Run the contexts once and fill the branches; the bridge applies to the first, the full context.

    Contexts without text or without images have no relevance, so there is nothing to hide in them: the
    same rule as in training.
    """
    und, gen = model.embed(inputs)
    rope = model.rope(inputs.position_T)
    keep_T = None
    for number, layer in enumerate(model.language_model.model.layers):
        recording = _Recording(attend)
        und, gen = layer(und, gen, rope, recording)
        keep = keep_T if bridge is not None and number in bridge.layers else None
        for place, branch in enumerate(branches):
            branch.add_layer(recording.keys, recording.values, own, keep if place == 0 else None)
        if bridge is not None and number == bridge.relevance_layer:
            keep_T = keep_mask(relevance(und, len(inputs.position_T), inputs.bridge), inputs.bridge, bridge)


@dataclass(frozen=True)
class StepAttend:
    """A step's attention in one layer. Rows: two boundary tokens a branch, then n latents a branch."""

    branches: list[Branch]
    layer: int

    def __call__(self, q_TND: Tensor, k_TND: Tensor, v_TND: Tensor) -> Tensor:
        count = len(self.branches)
        latents = (len(q_TND) - 2 * count) // count
        sizes = [2] * count + [latents] * count
        q, k, v = (x.split(sizes) for x in (q_TND, k_TND, v_TND))
        ends, middles = [], []
        for number, branch in enumerate(self.branches):
            keys, values = branch.keys[self.layer], branch.values[self.layer]
            for store, own in ((keys, k), (values, v)):
                store[-latents - 2 : -latents] = own[number]
                store[-latents:] = own[count + number]
            hidden = branch.hidden[self.layer]
            ends.append(attend_whole(q[number], keys, values))
            middles.append(attend_whole(q[count + number], keys[hidden:], values[hidden:]))
        return torch.cat(ends + middles)
