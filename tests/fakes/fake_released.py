"""A checkout laid out like the released repository, whose layer is written anew: plain, slow, by sample."""

from pathlib import Path

LAYER = """
import torch
from flash_attn import flash_attn_varlen_func
from torch import nn
from torch.nn import functional


class Qwen2Config:
    def __init__(self, **values):
        self.__dict__.update(values)


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def turned(x, cos, sin):
    low, high = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-high, low], -1) * sin[:, None]


class Qwen2MoTDecoderLayer(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        hidden, heads, kv = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.size, self.kv_heads = hidden // heads, kv
        self.repeats = heads // kv
        self.self_attn = nn.Module()
        for end in ("", "_moe_gen"):
            for name, out in (("q", hidden), ("k", kv * self.size), ("v", kv * self.size)):
                setattr(self.self_attn, f"{name}_proj{end}", nn.Linear(hidden, out))
            setattr(self.self_attn, f"o_proj{end}", nn.Linear(hidden, hidden, bias=False))
            for name in ("q_norm", "k_norm"):
                holder = nn.Module()
                holder.weight = nn.Parameter(torch.ones(self.size))
                setattr(self.self_attn, name + end, holder)
            mlp = nn.Module()
            mlp.gate_proj = nn.Linear(hidden, config.intermediate_size, bias=False)
            mlp.up_proj = nn.Linear(hidden, config.intermediate_size, bias=False)
            mlp.down_proj = nn.Linear(config.intermediate_size, hidden, bias=False)
            setattr(self, f"mlp{end}", mlp)
            for name in ("input_layernorm", "post_attention_layernorm"):
                holder = nn.Module()
                holder.weight = nn.Parameter(torch.ones(hidden))
                setattr(self, name + end, holder)

    def by_expert(self, run, x, und, gen):
        out = {place: value for end, rows in (("", und), ("_moe_gen", gen))
               for place, value in zip(rows.tolist(), run(x[rows], end), strict=True)}
        return torch.stack([out[place] for place in range(len(x))])

    def forward(self, packed_sequence, sample_lens, attention_mask, packed_position_embeddings,
                packed_und_token_indexes, packed_gen_token_indexes,
                semantic_mask=None, target_token_mask=None):
        x, experts = packed_sequence, (packed_und_token_indexes, packed_gen_token_indexes)
        a = self.self_attn
        y = self.by_expert(lambda r, e: norm(r, getattr(self, "input_layernorm" + e).weight), x, *experts)

        def heads(name, has_norm):
            def project(r, e):
                z = getattr(a, f"{name}_proj{e}")(r).unflatten(-1, (-1, self.size))
                return norm(z, getattr(a, f"{name}_norm{e}").weight) if has_norm else z
            return self.by_expert(project, y, *experts)

        q, k = (turned(heads(name, True), *packed_position_embeddings) for name in "qk")
        k, v = (part.repeat_interleave(self.repeats, 1) for part in (k, heads("v", False)))
        seen, first = [], 0
        for length, mask in zip(sample_lens, attention_mask, strict=True):
            part = slice(first, first + length)
            scores = torch.einsum("qnd,knd->nqk", q[part], k[part]) / self.size**0.5 + mask
            if SEES_THE_BRIDGE and semantic_mask is not None:
                is_target, bias = target_token_mask[part][:, None], semantic_mask[part][None]
                scores = scores + torch.where(is_target, bias, 0.0)
            seen.append(torch.einsum("nqk,knd->qnd", scores.softmax(-1), v[part]).flatten(1))
            first += length
        x = x + self.by_expert(lambda r, e: getattr(a, "o_proj" + e)(r), torch.cat(seen), *experts)

        def fed(r, e):
            mlp, z = getattr(self, "mlp" + e), norm(r, getattr(self, "post_attention_layernorm" + e).weight)
            return mlp.down_proj(functional.silu(mlp.gate_proj(z)) * mlp.up_proj(z))
        return x + self.by_expert(fed, x, *experts)
"""


def write_released(path: Path, *, sees_the_bridge: bool = True) -> Path:
    """Write it; without `sees_the_bridge` its targets see what the bridge hides."""
    for package in ("bagel", "qwen2", "cache_utils"):
        (path / "modeling" / package).mkdir(parents=True)
    (path / "modeling/qwen2/modeling_qwen2.py").write_text("")
    text = f"SEES_THE_BRIDGE = {sees_the_bridge}\n{LAYER}"
    (path / "modeling/bagel/qwen2_navit.py").write_text(text)
    return path
