"""Cross-domain transformer of HT Demucs (Rouard et al. 2022, arXiv:2211.08553) with the released parameter names."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from edge.models.hybrid import LayerScale


def positions_1d(length: int, dim: int, max_period: float) -> torch.Tensor:
    """Sinusoidal table (1, length, dim): cosines, then sines."""
    half = dim // 2
    phase = torch.arange(length).view(-1, 1) / (max_period ** (torch.arange(half).view(1, -1) / (half - 1)))
    return torch.cat([phase.cos(), phase.sin()], -1)[None]


def positions_2d(dim: int, freqs: int, frames: int, max_period: float) -> torch.Tensor:
    """Sinusoidal table (1, frames * freqs, dim) in (frame, frequency) order: time in the first half of dim."""
    half = dim // 2
    rates = torch.exp(torch.arange(0.0, half, 2) * -(math.log(max_period) / half))
    time = torch.arange(0.0, frames)[:, None] * rates
    freq = torch.arange(0.0, freqs)[:, None] * rates
    table = torch.zeros(frames, freqs, dim)
    table[:, :, 0:half:2] = time.sin()[:, None]
    table[:, :, 1:half:2] = time.cos()[:, None]
    table[:, :, half::2] = freq.sin()[None]
    table[:, :, half + 1 :: 2] = freq.cos()[None]
    return table.reshape(1, frames * freqs, dim)


class PositionalEmbedding(nn.Module):
    """Adds the `kept` channels of a sinusoidal table that was trained with `dim` channels (pruning thins `kept`)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.register_buffer("kept", torch.arange(dim), persistent=False)
        self.kept: torch.Tensor

    def forward(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return x + table.to(x)[..., self.kept]


class Attention(nn.Module):
    """Multi-head attention, (B, T, C) x (B, S, C) -> (B, T, C).

    Its state dict is that of `nn.MultiheadAttention` (`in_proj_weight`, `in_proj_bias`, `out_proj`); inside, q, k and
    v are Linears of their own, which pruning thins and exporters delegate.
    """

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim  # pruning removes heads whole: the width of one stays
        self.scale = head_dim**-0.5  # the trained scale: it must not follow a pruned head
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.register_load_state_dict_pre_hook(self._split)
        self.register_state_dict_post_hook(self._merge)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = (
            proj(z).reshape(b, -1, self.heads, proj.out_features // self.heads).transpose(1, 2)
            for proj, z in ((self.q, x), (self.k, y), (self.v, y))
        )
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.out_proj(out.transpose(1, 2).reshape(b, t, self.v.out_features))

    @staticmethod
    def _split(module, state, prefix, *_):
        for kind in ("weight", "bias"):
            fused = state.pop(f"{prefix}in_proj_{kind}", None)
            if fused is not None:
                for name, part in zip("qkv", fused.chunk(3), strict=True):
                    state[f"{prefix}{name}.{kind}"] = part

    @staticmethod
    def _merge(module, state, prefix, *_):
        for kind in ("weight", "bias"):
            state[f"{prefix}in_proj_{kind}"] = torch.cat([state.pop(f"{prefix}{name}.{kind}") for name in "qkv"])


class TokenGroupNorm(nn.GroupNorm):
    """GroupNorm(1) over all tokens and channels of (B, T, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Pre-norm layer: self-attention, or cross-attention to the other branch, then a feed-forward network."""

    def __init__(self, dim: int, heads: int, head_dim: int, hidden: int, cross: bool, scale_init: float):
        super().__init__()
        self.cross = cross
        if cross:
            self.cross_attn = Attention(dim, heads, head_dim)
            self.norm3 = nn.LayerNorm(dim)
        else:
            self.self_attn = Attention(dim, heads, head_dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm_out = TokenGroupNorm(1, dim)
        self.gamma_1 = LayerScale(dim, scale_init, channel_last=True)
        self.gamma_2 = LayerScale(dim, scale_init, channel_last=True)

    @property
    def attention(self) -> Attention:
        return self.cross_attn if self.cross else self.self_attn

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        if self.cross:
            assert other is not None
            x = x + self.gamma_1(self.cross_attn(self.norm1(x), self.norm2(other)))
            hidden = self.norm3(x)
        else:
            normed = self.norm1(x)
            x = x + self.gamma_1(self.self_attn(normed, normed))
            hidden = self.norm2(x)
        x = x + self.gamma_2(self.linear2(F.gelu(self.linear1(hidden))))
        return self.norm_out(x)


class CrossTransformer(nn.Module):
    """Alternating self- and cross-attention of the spectrogram branch (B, C, F, T) and waveform branch (B, C, L)."""

    def __init__(
        self,
        dim: int,
        layers: int,
        heads: int,
        hidden_scale: float,
        cross_first: bool,
        max_period: float,
        position_weight: float,
        scale_init: float,
        head_dim: int,
    ):
        super().__init__()
        hidden = int(dim * hidden_scale)
        self.dim, self.max_period, self.position_weight = dim, max_period, position_weight
        self.norm_in, self.norm_in_t = nn.LayerNorm(dim), nn.LayerNorm(dim)
        cross = [(i % 2 == 0) == cross_first for i in range(layers)]
        self.layers = nn.ModuleList(TransformerLayer(dim, heads, head_dim, hidden, c, scale_init) for c in cross)
        self.layers_t = nn.ModuleList(TransformerLayer(dim, heads, head_dim, hidden, c, scale_init) for c in cross)
        self.pos, self.pos_t = PositionalEmbedding(dim), PositionalEmbedding(dim)

    def tables(self, freqs: int, frames: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positional tables of both branches, all trained channels, weight included."""
        spec = positions_2d(self.dim, freqs, frames, self.max_period)
        wave = positions_1d(length, self.dim, self.max_period)
        return spec * self.position_weight, wave * self.position_weight

    def forward(self, x: torch.Tensor, xt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, c, f, t = x.shape
        table, table_t = self.tables(f, t, xt.shape[-1])
        x = self.pos(self.norm_in(x.permute(0, 3, 2, 1).reshape(b, t * f, c)), table)
        xt = self.pos_t(self.norm_in_t(xt.transpose(1, 2)), table_t)
        for layer, layer_t in zip(self.layers, self.layers_t, strict=True):
            if layer.cross:
                x, xt = layer(x, xt), layer_t(xt, x)
            else:
                x, xt = layer(x), layer_t(xt)
        return x.reshape(b, t, f, x.shape[-1]).permute(0, 3, 2, 1), xt.transpose(1, 2)
