"""The SigLIP image encoder over packed patches of images of any size, named as in the released checkpoint."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from train.attention import per_sequence
from train.config import VisionConfig

# V patches of all images one after another, F hidden size, C numbers of a patch


class VisionAttention(nn.Module):
    """Full attention within each image."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(config.hidden, config.hidden) for _ in range(4)
        )

    def forward(self, x_VF: Tensor, lengths: list[int]) -> Tensor:
        q, k, v = (
            proj(x_VF).unflatten(-1, (self.heads, -1)) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(per_sequence(q, k, v, lengths))


class VisionMlp(nn.Module):
    """Two linear layers with GELU (tanh form) between."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.hidden)

    def forward(self, x_VF: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x_VF), approximate="tanh"))


class VisionLayer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.mlp = VisionMlp(config)

    def forward(self, x_VF: Tensor, lengths: list[int]) -> Tensor:
        x_VF = x_VF + self.self_attn(self.layer_norm1(x_VF), lengths)
        return x_VF + self.mlp(self.layer_norm2(x_VF))


class Embeddings(nn.Module):
    """Patches as vectors, plus the learned vector of their place in the grid."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(3 * config.patch_px**2, config.hidden)
        self.position_embedding = nn.Embedding(config.side**2, config.hidden)

    def forward(self, patch_VC: Tensor, id_V: Tensor) -> Tensor:
        return self.patch_embedding(patch_VC) + self.position_embedding(id_V)


class Encoder(nn.Module):
    """The layers, for their place in the checkpoint's names."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))


class VisionTransformer(nn.Module):
    """Embeddings, layers, final norm."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden, eps=config.norm_eps)

    def forward(self, patch_VC: Tensor, id_V: Tensor, lengths: list[int]) -> Tensor:
        x_VF = self.embeddings(patch_VC, id_V)
        for layer in self.encoder.layers:
            x_VF = layer(x_VF, lengths)
        return self.post_layernorm(x_VF)


class Siglip(nn.Module):
    """The encoder under its released name, `vision_model`."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.vision_model = VisionTransformer(config)

    def forward(self, patch_VC: Tensor, id_V: Tensor, lengths: list[int]) -> Tensor:
        """Features [V, F] of patches [V, 3 * patch_px**2] (RGB in [-1, 1], channel last).

        Args:
            id_V: place of each patch in the learned table.
            lengths: patches of each image.
        """
        return self.vision_model(patch_VC, id_V, lengths)
