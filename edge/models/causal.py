"""Causal building blocks with explicit state.

Every layer here takes its past as a tensor and gives the next past back, so one call with T steps equals T
calls with one step. Nothing is kept inside a module: a state of zeros is a fresh start.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def with_history(history: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Put the past before `x` (B, C, T): returns (B, C, P + T) and the next past (B, C, P)."""
    # dim 2, never the last by a negative index: torch-pruning tells time from channels by this number
    joined = torch.cat([history, x], dim=2)
    return joined, joined[:, :, joined.shape[2] - history.shape[2] :]


def sqrt_hann_bases(window: int) -> tuple[Tensor, Tensor]:
    """Fourier bases under a square-root-Hann window: (window + 2, window) and back.

    Rows of the analysis are `window / 2 + 1` cosines, then as many negative sines. At a hop of `window / 2`,
    analysis, synthesis and overlap-add reconstruct the input exactly. White noise of unit power gives
    pairs of unit mean power.
    """
    n = torch.arange(window, dtype=torch.float64)
    k = torch.arange(window // 2 + 1, dtype=torch.float64)
    taper = torch.sin(math.pi * n / window)
    phase = 2 * math.pi * torch.outer(k, n) / window
    bases = torch.cat([torch.cos(phase), -torch.sin(phase)]) * taper
    fold = torch.full_like(k, 2.0)
    fold[0] = fold[-1] = 1.0
    scale = math.sqrt(2 / window)
    inverse = (bases * torch.cat([fold, fold])[:, None]).T / (window * scale)
    return (bases * scale).float(), inverse.float()


class CausalConv1d(nn.Conv1d):
    """Conv1d over past and present: state is the last `dilation * (kernel - 1) + 1 - stride` inputs."""

    @property
    def history(self) -> int:
        return self.dilation[0] * (self.kernel_size[0] - 1) + 1 - self.stride[0]

    def stream(self, x: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        joined, history = with_history(history, x)
        return self(joined), history


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, T): each frame by itself, hence causal."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class DenseDilatedBlock(nn.Module):
    """Densely connected dilated causal convolutions: each layer sees the input and all layers before it.

    One state serves all layers: the past of the concatenated features, (B, C + growth * (layers - 1), P).
    """

    def __init__(self, channels: int, growth: int, dilations: tuple[int, ...], kernel: int = 3):
        super().__init__()
        widths = [channels + growth * i for i in range(len(dilations) + 1)]
        self.convs = nn.ModuleList(
            CausalConv1d(w, growth, kernel, dilation=d) for w, d in zip(widths, dilations, strict=False)
        )
        self.norms = nn.ModuleList(ChannelNorm(growth) for _ in dilations)
        self.out = nn.Conv1d(widths[-1], channels, 1)
        self.out_norm = ChannelNorm(channels)

    def state_shape(self) -> tuple[int, int]:
        convs = cast("list[CausalConv1d]", list(self.convs))
        return convs[-1].in_channels, max(conv.history for conv in convs)

    def forward(self, x: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        features = x
        convs = cast("list[CausalConv1d]", list(self.convs))
        for conv, norm in zip(convs, self.norms, strict=True):
            past = history[:, : conv.in_channels, history.shape[2] - conv.history :]
            y, _ = conv.stream(features, past)
            last, features = features, torch.cat([features, F.gelu(norm(y))], dim=1)
        _, history = with_history(history, last)
        return x + F.gelu(self.out_norm(self.out(features))), history


class GatedRecurrence(nn.Module):
    """A GRU (Cho et al., 2014; reset after the product, as cuDNN) with one Linear a gate.

    The Linears can be pruned and quantized by every tool. Sequences longer than two steps go through the
    fused `torch.gru` with the same parameters; the explicit step is the definition.
    """

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.input_reset, self.input_update, self.input_new = (nn.Linear(inputs, hidden) for _ in range(3))
        self.hidden_reset, self.hidden_update, self.hidden_new = (nn.Linear(hidden, hidden) for _ in range(3))
        for linear in (self.hidden_reset, self.hidden_update, self.hidden_new):
            nn.init.orthogonal_(linear.weight)

    @property
    def width(self) -> int:
        return self.hidden_new.out_features

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """One step: x (B, inputs), h (B, hidden) -> next h."""
        reset = torch.sigmoid(self.input_reset(x) + self.hidden_reset(h))
        update = torch.sigmoid(self.input_update(x) + self.hidden_update(h))
        new = torch.tanh(self.input_new(x) + reset * self.hidden_new(h))
        return new + update * (h - new)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, inputs), h (B, hidden) -> outputs (B, T, hidden), last h."""
        if x.shape[1] <= 2:
            steps = []
            for t in range(x.shape[1]):
                h = self.step(x[:, t], h)
                steps.append(h)
            return torch.stack(steps, dim=1), h
        inputs = (self.input_reset, self.input_update, self.input_new)
        hiddens = (self.hidden_reset, self.hidden_update, self.hidden_new)
        parameters = [
            torch.cat([m.weight for m in inputs]),
            torch.cat([m.weight for m in hiddens]),
            torch.cat([m.bias for m in inputs]),
            torch.cat([m.bias for m in hiddens]),
        ]
        y, last = torch.gru(x, h[None].contiguous(), parameters, True, 1, 0.0, self.training, False, True)
        return y, last[0]


class TimeAttention(nn.Module):
    """Multi-head attention of each frame over itself and the `window - 1` frames before it.

    Logits get a learned bias by head and lag. The scale is the one it was trained with, whatever the
    present head width. State: past keys and values, (B, heads, window - 1, head width) each; before the
    start they are zero, and attended to like any other frame.
    """

    block = 128  # queries at a time: memory stays linear in T

    def __init__(self, channels: int, heads: int, head_dim: int, window: int, scale: float):
        super().__init__()
        self.heads, self.window, self.scale = heads, window, scale
        self.q, self.k, self.v = (nn.Linear(channels, heads * head_dim) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, channels)
        self.lag_bias = nn.Parameter(torch.zeros(heads, window))

    def state_shape(self) -> tuple[int, int, int]:
        return self.heads, self.window - 1, self.k.out_features // self.heads

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def bias(self, queries: int) -> Tensor:
        """Additive logits (heads, queries, window - 1 + queries); -inf outside the window."""
        i = torch.arange(queries, device=self.lag_bias.device)
        j = torch.arange(self.window - 1 + queries, device=self.lag_bias.device)
        lag = self.window - 1 + i[:, None] - j[None]
        inside = (lag >= 0) & (lag < self.window)
        return self.lag_bias[:, lag.clamp(0, self.window - 1)].masked_fill(~inside, -math.inf)

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = self._heads(self.q(x)) * self.scale
        k = torch.cat([past_k, self._heads(self.k(x))], dim=2)
        v = torch.cat([past_v, self._heads(self.v(x))], dim=2)
        steps, past = q.shape[2], self.window - 1
        bias = self.bias(min(steps, self.block))
        blocks = []
        for start in range(0, steps, self.block):
            n = min(self.block, steps - start)
            keys, values = k[:, :, start : start + past + n], v[:, :, start : start + past + n]
            logits = torch.matmul(q[:, :, start : start + n], keys.transpose(2, 3)) + bias[:, :n, : past + n]
            blocks.append(torch.matmul(torch.softmax(logits, dim=-1), values))
        y = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)
        y = y.transpose(1, 2).reshape(x.shape[0], steps, self.v.out_features)
        return self.out(y), k[:, :, steps:], v[:, :, steps:]


class TimeAttentionTransformer(nn.Module):
    """Pre-norm transformer layer on (B, T, C): time attention, then a feed-forward network."""

    def __init__(self, channels: int, heads: int, head_dim: int, window: int, scale: float, ffn: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = TimeAttention(channels, heads, head_dim, window, scale)
        self.norm2 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, ffn)
        self.linear2 = nn.Linear(ffn, channels)

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, past_k, past_v = self.attention(self.norm1(x), past_k, past_v)
        x = x + y
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x)))), past_k, past_v
