"""The mixture-of-transformers language model: two sets of weights a layer, one attention over all tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.attention import Attend
from train.checkpointing import Checkpointing, checkpointed
from train.config import LanguageConfig
from train.positions import rotate

# T rows, U understanding rows (the first), G generation rows (the rest), H hidden, N heads, D head size

Rope = tuple[Tensor, Tensor]


class RmsNorm(nn.Module):
    """Root-mean-square norm; statistics in float32, back in the input's dtype before the weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)


class Mlp(nn.Module):
    """SiLU-gated."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class MotAttention(nn.Module):
    """Projections of both experts; the names of the generation expert's end in `_moe_gen`."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        for expert in ("", "_moe_gen"):
            self._add_expert(config, expert)

    def _add_expert(self, config: LanguageConfig, expert: str) -> None:
        kv_size = config.kv_heads * config.head_dim
        self.add_module(f"q_proj{expert}", nn.Linear(config.hidden, config.hidden))
        self.add_module(f"k_proj{expert}", nn.Linear(config.hidden, kv_size))
        self.add_module(f"v_proj{expert}", nn.Linear(config.hidden, kv_size))
        self.add_module(f"o_proj{expert}", nn.Linear(config.hidden, config.hidden, bias=False))
        self.add_module(f"q_norm{expert}", RmsNorm(config.head_dim, config.norm_eps))
        self.add_module(f"k_norm{expert}", RmsNorm(config.head_dim, config.norm_eps))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim))

    def queries(self, und_UH: Tensor, gen_GH: Tensor, rope: Rope) -> Tensor:
        q_und = self.q_norm(self._heads(self.q_proj(und_UH)))
        q_gen = self.q_norm_moe_gen(self._heads(self.q_proj_moe_gen(gen_GH)))
        return rotate(torch.cat([q_und, q_gen]), rope)

    def keys_values(self, und_UH: Tensor, gen_GH: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        k_und = self.k_norm(self._heads(self.k_proj(und_UH)))
        k_gen = self.k_norm_moe_gen(self._heads(self.k_proj_moe_gen(gen_GH)))
        v = torch.cat([self.v_proj(und_UH), self.v_proj_moe_gen(gen_GH)])
        return rotate(torch.cat([k_und, k_gen]), rope), self._heads(v)


class MotLayer(nn.Module):
    """One layer. The two row groups stay apart; only queries, keys and values are put together."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.checkpointing = Checkpointing.NONE
        self.self_attn = MotAttention(config)
        self.mlp, self.mlp_moe_gen = Mlp(config), Mlp(config)
        for name in ("input_layernorm", "post_attention_layernorm"):
            self.add_module(name, RmsNorm(config.hidden, config.norm_eps))
            self.add_module(f"{name}_moe_gen", RmsNorm(config.hidden, config.norm_eps))

    def forward(
        self, und_UH: Tensor, gen_GH: Tensor, rope: Rope, attend: Attend, last_rows: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The two row groups after this layer.

        Args:
            last_rows: compute only the last so many generation rows (the targets, in the last layer); the
                others, which nobody reads then, are keys and values only. `attend` must be made for it.
        """
        run = self._all_rows if last_rows is None else self._last_rows
        arguments = (und_UH, gen_GH, rope, attend) + (() if last_rows is None else (last_rows,))
        return checkpointed(self.checkpointing, run, *arguments)

    def _all_rows(self, und_UH: Tensor, gen_GH: Tensor, rope: Rope, attend: Attend) -> tuple[Tensor, Tensor]:
        und, gen = self.input_layernorm(und_UH), self.input_layernorm_moe_gen(gen_GH)
        k, v = self.self_attn.keys_values(und, gen, rope)
        seen_TH = attend(self.self_attn.queries(und, gen, rope), k, v)
        seen_und, seen_gen = seen_TH.split([len(und), len(gen)])
        und_UH = und_UH + self.self_attn.o_proj(seen_und)
        return und_UH + self.mlp(self.post_attention_layernorm(und_UH)), self._finish_gen(gen_GH, seen_gen)

    def _last_rows(
        self, und_UH: Tensor, gen_GH: Tensor, rope: Rope, attend: Attend, last_rows: int
    ) -> tuple[Tensor, Tensor]:
        und, gen = self.input_layernorm(und_UH), self.input_layernorm_moe_gen(gen_GH)
        k, v = self.self_attn.keys_values(und, gen, rope)
        first = len(gen) - last_rows
        q_rope = (rope[0][len(und) + first :], rope[1][len(und) + first :])
        seen_gen = attend(self.self_attn.queries(und[:0], gen[first:], q_rope), k, v)
        return und_UH.new_empty(0, und_UH.shape[1]), self._finish_gen(gen_GH[first:], seen_gen)

    def _finish_gen(self, gen_GH: Tensor, seen_GH: Tensor) -> Tensor:
        gen_GH = gen_GH + self.self_attn.o_proj_moe_gen(seen_GH)
        return gen_GH + self.mlp_moe_gen(self.post_attention_layernorm_moe_gen(gen_GH))


class MotStack(nn.Module):
    """Embedding, layers, the two final norms; `train.model` runs them."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList(MotLayer(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.hidden, config.norm_eps)
        self.norm_moe_gen = RmsNorm(config.hidden, config.norm_eps)


class LanguageModel(nn.Module):
    """The stack and the text head, which no image loss reaches, under their released names."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.model = MotStack(config)
        self.lm_head = nn.Linear(config.hidden, config.vocab, bias=False)
