"""The BAGEL-compatible model: image encoder, language model and the way in and out of latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.attention import Attend, PackAttention
from train.bridge import BridgeStats, bridge_stats, keep_mask, relevance
from train.bridge_config import BridgeConfig
from train.config import ModelConfig
from train.flow import noisy
from train.inputs import PackInputs
from train.mot import LanguageModel
from train.positions import SineTable, TimeEmbedder, rope_angles
from train.siglip import Siglip

# T rows of the pack: U understanding, then G generation, of which the last M are targets; H hidden size,
# C numbers of a latent token

Watch = Callable[[int, Tensor, Tensor], None]


class Connector(nn.Module):
    """ViT features as language model inputs."""

    def __init__(self, vision: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(vision, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class Attends:
    """Each kind of attention of a pack, made when its first layer asks: at most four a pass."""

    def __init__(self, pack: PackAttention) -> None:
        self.pack = pack
        self.made: dict[tuple[bool, int | None], Attend] = {}

    def get(self, keep_T: Tensor | None, last_rows: int | None) -> Attend:
        kind = (keep_T is not None, last_rows)
        if kind not in self.made:
            self.made[kind] = self.pack.attend(keep_T, last_rows)
        return self.made[kind]


class Prediction(NamedTuple):
    """What a forward pass gives.

    Attributes:
        velocity_MC: of every target row.
        relevance_T, keep_T, stats: with the bridge only.
    """

    velocity_MC: Tensor
    relevance_T: Tensor | None = None
    keep_T: Tensor | None = None
    stats: BridgeStats | None = None


class Bagel(nn.Module):
    """The whole model but the autoencoder. Its state dict has the released names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden, latent = config.language.hidden, config.latent
        self.language_model = LanguageModel(config.language)
        self.vit_model = Siglip(config.vision)
        self.connector = Connector(config.vision.hidden, hidden)
        self.vae2llm = nn.Linear(latent.token_size, hidden)
        self.llm2vae = nn.Linear(hidden, latent.token_size)
        self.time_embedder = TimeEmbedder(hidden)
        self.latent_pos_embed = SineTable(latent.side, hidden)
        self.vit_pos_embed = SineTable(config.vision.side, hidden)

    def forward(
        self,
        inputs: PackInputs,
        bridge: BridgeConfig | None = None,
        *,
        watch: Watch | None = None,
    ) -> Prediction:
        """Predict the velocity of every target of a pack.

        Args:
            bridge: None trains and samples without it.
            watch: called with (layer, und_UH, gen_GH) after every layer; the last layer then computes
                every row, where without it only the targets' are.
        """
        und_UH, gen_GH = self.embed(inputs)
        rope, attends = self.rope(inputs.position_T), Attends(inputs.attention)
        relevance_T = keep_T = stats = None
        layers = self.language_model.model.layers
        for number, layer in enumerate(layers):
            keep = keep_T if bridge is not None and number in bridge.layers else None
            last_rows = inputs.target_rows if number == len(layers) - 1 and watch is None else None
            und_UH, gen_GH = layer(und_UH, gen_GH, rope, attends.get(keep, last_rows), last_rows)
            if bridge is not None and number == bridge.relevance_layer:
                relevance_T = relevance(und_UH, len(inputs.position_T), inputs.bridge)
                keep_T = keep_mask(relevance_T, inputs.bridge, bridge)
                stats = bridge_stats(relevance_T, keep_T, inputs.bridge)
            if watch is not None:
                watch(number, und_UH, gen_GH)
        target_MH = gen_GH[len(gen_GH) - inputs.target_rows :]
        return Prediction(
            velocity_MC=self.velocity(target_MH), relevance_T=relevance_T, keep_T=keep_T, stats=stats
        )

    def embed(self, inputs: PackInputs) -> tuple[Tensor, Tensor]:
        """The rows before the first layer, understanding [U, H] and generation [G, H]."""
        text_XH = self.language_model.model.embed_tokens(inputs.text_id_X)
        parts = [text_XH, self._vit_embed(inputs, text_XH), text_XH.new_zeros(1, text_XH.shape[1])]
        return torch.cat(parts)[inputs.und_source_U], self.latent_embed(
            self._noisy_latents(inputs), inputs.time_I, inputs.image_G, inputs.latent_id_G, inputs.is_latent_G
        )

    def _vit_embed(self, inputs: PackInputs, like: Tensor) -> Tensor:
        count = len(inputs.vit_id_V)
        patch_VC, id_V, lengths = inputs.patch_VC.to(like.dtype), inputs.vit_id_V, inputs.vit_lengths
        if not count:
            # One blank patch, cut off again: every rank then has a gradient for the same parameters, as
            # FSDP's collectives need, and a pack without ViT tokens trains like any other.
            patch_VC, id_V, lengths = patch_VC.new_zeros(1, self._patch_size), id_V.new_zeros(1), [1]
        features = self.connector(self.vit_model(patch_VC, id_V, lengths))
        return (features + self.vit_pos_embed(id_V).to(like.dtype))[:count]

    @property
    def _patch_size(self) -> int:
        return 3 * self.config.vision.patch_px**2

    def _noisy_latents(self, inputs: PackInputs) -> Tensor:
        targets = len(inputs.clean_GC) - inputs.target_rows
        time_M = inputs.time_I[inputs.image_G[targets:]]
        return torch.cat(
            [inputs.clean_GC[:targets], noisy(inputs.clean_GC[targets:], inputs.noise_MC, time_M)]
        )

    def latent_embed(
        self, latent_GC: Tensor, time_I: Tensor, image_G: Tensor, id_G: Tensor, is_latent_G: Tensor
    ) -> Tensor:
        """Latent tokens as rows [G, H]: numbers, time of their image, place; zero in padding."""
        values_GH = self.vae2llm(latent_GC.to(self.vae2llm.weight.dtype))
        time_IH = self.time_embedder(time_I)
        rows_GH = values_GH + time_IH[image_G] + self.latent_pos_embed(id_G).to(values_GH.dtype)
        return rows_GH * is_latent_G[:, None].to(rows_GH.dtype)

    def rope(self, position_T: Tensor) -> tuple[Tensor, Tensor]:
        """The rotary angles of rows at these positions."""
        return rope_angles(position_T, self.config.language.head_dim, self.config.language.rope_theta)

    def velocity(self, target_MH: Tensor) -> Tensor:
        """The predicted velocity [M, C] of generation rows after the last layer."""
        return self.llm2vae(self.language_model.model.norm_moe_gen(target_MH))
