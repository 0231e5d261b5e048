"""The GRU and the attention over past frames, with explicit state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Sequence(torch.autograd.Function):
    """All steps of a GRU as one function: its weights' gradients are one product over all steps.

    x (T, N, inputs), h (N, H); weights (3 H, inputs) and (3 H, H) and biases (3 H) in the order reset, update, new.
    Each gate lies apart in memory, and views of the steps are made once: a step is some ten small operations, and what
    goes before them would take as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, wi: Tensor, wh: Tensor, bi: Tensor, bh: Tensor) -> Tensor:
        steps, rows, size = x.shape[0], x.shape[1], h.shape[1]
        flat = x.reshape(steps * rows, -1)
        biases = [*(bi + bh)[: 2 * size].split(size), bi[2 * size :]]
        given = [
            torch.addmm(b, flat, w.t()).reshape(steps, rows, size) for b, w in zip(biases, wi.split(size), strict=True)
        ]
        by_reset, by_update, by_new = (w.t().contiguous() for w in wh.split(size))
        states, product = x.new_empty(steps + 1, rows, size), x.new_empty(steps, rows, size)
        states[0] = h
        for before, after, reset, update, new, p in _by_step(states[:-1], states[1:], *given, product):
            reset.addmm_(before, by_reset).sigmoid_()
            update.addmm_(before, by_update).sigmoid_()
            torch.addmm(bh[2 * size :], before, by_new, out=p)
            new.addcmul_(reset, p).tanh_()
            torch.lerp(new, before, update, out=after)
        ctx.save_for_backward(x, wi, wh, states, *given, product)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, wi, wh, states, reset, update, new, product = ctx.saved_tensors
        steps, rows, size = new.shape
        # the factors that do not depend on the gradient, for all steps at once
        of_new = (1 - new * new) * (1 - update)
        of_product = of_new * reset
        factors = [of_product * product * (1 - reset), (states[:-1] - new) * update * (1 - update), of_new, of_product]
        into = [torch.empty_like(new) for _ in factors]  # gradients of the gates before their nonlinearity
        weights = wh.split(size)
        carried = x.new_zeros(rows, size)
        for grad, u, *parts in reversed([*_by_step(grads[0], update, *factors, *into)]):
            carried += grad
            for factor, out in zip(parts[:4], parts[4:], strict=True):
                torch.mul(carried, factor, out=out)
            r, z, _, p = parts[4:]
            carried = (carried * u).addmm_(r, weights[0]).addmm_(z, weights[1]).addmm_(p, weights[2])
        flat, before = x.reshape(steps * rows, -1), states[:-1].reshape(steps * rows, -1)
        given, hidden = ([part.flatten(0, 1) for part in parts] for parts in (into[:3], into[:2] + into[3:]))
        into_x = sum(part @ w for part, w in zip(given, wi.split(size), strict=True))
        into_wi, into_wh = (torch.cat([p.t() @ by for p in parts]) for parts, by in ((given, flat), (hidden, before)))
        into_bi, into_bh = (torch.cat([part.sum(0) for part in parts]) for parts in (given, hidden))
        return into_x.reshape(x.shape), carried, into_wi, into_wh, into_bi, into_bh


def _by_step(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=True)


class GatedRecurrence(nn.Module):
    """A GRU (Cho et al. 2014; reset after the product, as cuDNN) with one Linear a gate.

    The Linears can be pruned and quantized by every tool. Sequences of more than two steps go through the fused
    `torch.gru` with the same parameters; the explicit step is the definition.
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
        """One step: x (N, inputs), h (N, hidden) -> next h."""
        reset = torch.sigmoid(self.input_reset(x) + self.hidden_reset(h))
        update = torch.sigmoid(self.input_update(x) + self.hidden_update(h))
        new = torch.tanh(self.input_new(x) + reset * self.hidden_new(h))
        return new + update * (h - new)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x (T, N, inputs), h (N, hidden) -> outputs (T, N, hidden), last h."""
        if x.shape[0] <= 2:
            steps = []
            for t in range(x.shape[0]):
                h = self.step(x[t], h)
                steps.append(h)
            return torch.stack(steps), h
        inputs = (self.input_reset, self.input_update, self.input_new)
        hiddens = (self.hidden_reset, self.hidden_update, self.hidden_new)
        parameters = [
            torch.cat([m.weight for m in inputs]),
            torch.cat([m.weight for m in hiddens]),
            torch.cat([m.bias for m in inputs]),
            torch.cat([m.bias for m in hiddens]),
        ]
        if self.training and not x.is_cuda:  # torch's own one has a slow backward pass on a CPU
            y = _Sequence.apply(x, h, *parameters)
            return y, y[-1]
        y, last = torch.gru(x, h[None].contiguous(), parameters, True, 1, 0.0, self.training, False, False)
        return y, last[0]


class TimeAttention(nn.Module):
    """Multi-head attention of each frame over itself and the `window - 1` frames before it.

    Logits get a learned bias by head and lag. The scale is the one it was trained with, whatever the present head
    width. State: past keys and values, (B, heads, window - 1, head width) each; before the start they are zero, and
    attended to like any other frame.
    """

    block = 128  # queries at a time: memory stays linear in T

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window, self.scale = heads, window, (channels // heads) ** -0.5
        self.q, self.k, self.v = (nn.Linear(channels, channels) for _ in range(3))
        self.out = nn.Linear(channels, channels)
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
    """Transformer layer on (B, T, C) without norms: time attention, then a feed-forward network."""

    def __init__(self, channels: int, heads: int, window: int, ffn: int):
        super().__init__()
        self.attention = TimeAttention(channels, heads, window)
        self.linear1 = nn.Linear(channels, ffn)
        self.linear2 = nn.Linear(ffn, channels)
        with torch.no_grad():
            self.attention.out.weight.mul_(0.3)
            self.linear2.weight.mul_(0.3)

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, past_k, past_v = self.attention(x, past_k, past_v)
        x = x + y
        return x + self.linear2(F.relu(self.linear1(x))), past_k, past_v
