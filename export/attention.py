"""Layers of the cross-domain transformer in the form that mobile runtimes run whole (see delegable.py)."""

import math

import torch
from torch import nn

from edge.export.delegable import gelu
from edge.export.norms import LayerNorm, TokenNorm
from edge.models import transformer


def scaled_linear(layer: nn.Linear, scale: torch.Tensor | float) -> nn.Linear:
    """The Linear with its outputs multiplied by `scale` (a number or one value an output)."""
    out = nn.Linear(layer.in_features, layer.out_features)
    rows = scale[:, None] if isinstance(scale, torch.Tensor) else scale
    out.weight = nn.Parameter(layer.weight.detach() * rows)
    out.bias = nn.Parameter(layer.bias.detach() * scale)
    return out


class Attention(nn.Module):
    """Attention as three Linears, two batched products and a softmax; both scales folded into the weights.

    Where the scores of all heads are large, each head's live alone; where these are, those of some queries.
    """

    LARGE = 1 << 21  # scores

    def __init__(self, attention: transformer.Attention, layer_scale: torch.Tensor):
        super().__init__()
        self.q = scaled_linear(attention.q, attention.scale)
        self.k, self.v = scaled_linear(attention.k, 1.0), scaled_linear(attention.v, 1.0)
        self.out = scaled_linear(attention.out_proj, layer_scale)
        self.heads = attention.heads

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h, t, s = self.heads, x.shape[1], y.shape[1]
        q = self.q(x).reshape(t, h, -1).permute(1, 0, 2)
        k = self.k(y).reshape(s, h, -1).permute(1, 2, 0)
        v = self.v(y).reshape(s, h, -1).permute(1, 0, 2)
        if h > 1 and h * t * s > self.LARGE:
            out = torch.cat([self._attend(q[i : i + 1], k[i : i + 1], v[i : i + 1]) for i in range(h)])
        else:
            out = self._attend(q, k, v)
        return self.out(out.permute(1, 0, 2).reshape(1, t, -1))

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        queries = q.shape[1]
        parts = min(queries, math.ceil(q.shape[0] * queries * k.shape[2] / self.LARGE))
        out = [torch.bmm(torch.softmax(torch.bmm(part, k), -1), v) for part in q.tensor_split(parts, 1)]
        return torch.cat(out, 1) if parts > 1 else out[0]


class TransformerLayer(nn.Module):
    """(1, T, C) tokens, and (1, S, C) of the other branch for cross-attention."""

    def __init__(self, layer: transformer.TransformerLayer, target: str):
        super().__init__()
        self.cross = layer.cross
        self.attention = Attention(layer.attention, layer.gamma_1.scale.detach())
        self.norm1, self.norm2 = LayerNorm(layer.norm1, target), LayerNorm(layer.norm2, target)
        if layer.cross:
            self.norm3 = LayerNorm(layer.norm3, target)
        self.linear1 = scaled_linear(layer.linear1, 1.0)
        self.linear2 = scaled_linear(layer.linear2, layer.gamma_2.scale.detach())
        self.norm_out = TokenNorm(layer.norm_out, target)
        self.gelu = gelu(target)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        if self.cross:
            x = x + self.attention(self.norm1(x), self.norm2(other))
            hidden = self.norm3(x)
        else:
            normed = self.norm1(x)
            x = x + self.attention(normed, normed)
            hidden = self.norm2(x)
        return self.norm_out(x + self.linear2(self.gelu(self.linear1(hidden))))
