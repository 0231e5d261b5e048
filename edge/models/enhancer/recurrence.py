"""The GRU and the attention over past frames, with explicit state."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Sequence(torch.autograd.Function):
    """All steps of a GRU as one function: its weights' gradients are one product over all steps.

    x (T, N, inputs), h (N, H); weights (3 H, inputs) and (3 H, H) and biases (3 H) in the order reset, update, new.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, wi: Tensor, wh: Tensor, bi: Tensor, bh: Tensor) -> Tensor:
        steps, rows, size = x.shape[0], x.shape[1], h.shape[1]
        given = torch.addmm(bi, x.reshape(steps * rows, -1), wi.t()).reshape(steps, rows, 3 * size)
        states = x.new_empty(steps + 1, rows, size)
        states[0] = h
        gates, new, product = (x.new_empty(steps, rows, k * size) for k in (2, 1, 1))
        recurrent = wh.t().contiguous()
        for t in range(steps):
            hidden = torch.addmm(bh, states[t], recurrent)
            torch.add(given[t, :, : 2 * size], hidden[:, : 2 * size], out=gates[t]).sigmoid_()
            product[t] = hidden[:, 2 * size :]
            torch.addcmul(given[t, :, 2 * size :], gates[t, :, :size], product[t], out=new[t]).tanh_()
            torch.lerp(new[t], states[t], gates[t, :, size:], out=states[t + 1])
        ctx.save_for_backward(x, wi, wh, states, gates, new, product)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, wi, wh, states, gates, new, product = ctx.saved_tensors
        steps, rows, size = new.shape
        grad = grads[0]
        reset, update = gates[..., :size], gates[..., size:]
        # the factors that do not depend on the gradient, for all steps at once
        by_update = (states[:-1] - new) * update * (1 - update)
        by_new = (1 - update) * (1 - new * new)
        by_reset = product * reset * (1 - reset)
        of_given, of_hidden = (x.new_empty(steps, rows, 3 * size) for _ in range(2))
        carried = x.new_zeros(rows, size)
        for t in range(steps - 1, -1, -1):
            carried = carried + grad[t]
            given, hidden = of_given[t], of_hidden[t]
            candidate = torch.mul(carried, by_new[t], out=given[:, 2 * size :])
            torch.mul(candidate, by_reset[t], out=given[:, :size])
            torch.mul(carried, by_update[t], out=given[:, size : 2 * size])
            hidden[:, : 2 * size] = given[:, : 2 * size]
            torch.mul(candidate, reset[t], out=hidden[:, 2 * size :])
            carried = torch.addmm(carried * update[t], hidden, wh)
        given, hidden = of_given.reshape(steps * rows, -1), of_hidden.reshape(steps * rows, -1)
        into_x = (given @ wi).reshape(x.shape)
        into_wi, into_wh = given.t() @ x.reshape(steps * rows, -1), hidden.t() @ states[:-1].reshape(steps * rows, -1)
        return into_x, carried, into_wi, into_wh, given.sum(0), hidden.sum(0)


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
