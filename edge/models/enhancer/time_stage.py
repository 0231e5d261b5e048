"""The causal 1-D encoder-decoder at the sample rate, which restores lost bands."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLUs


class BlockConv(nn.Module):
    """Causal strided convolution: (B, C, N) -> (B, outputs, N / stride).

    State: the last `kernel - stride` inputs, (B, C, kernel - stride).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride)

    def state_shape(self) -> tuple[int, int]:
        return self.conv.in_channels, self.conv.kernel_size[0] - self.conv.stride[0]

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        # dim 2, never the last by a negative index: torch-pruning tells time from channels by this number
        joined = torch.cat([past, x], dim=2)
        return self.conv(joined), joined[:, :, x.shape[2] :]


class TimeStage(nn.Module):
    """Steered by a latent of each hop: audio (B, 2, N), latent (B, T, L) -> (B, N).

    Upsampling is a transposed convolution whose kernel equals its stride, that is a sub-pixel layout: no overlap, no
    state.
    """

    def __init__(self, channels: tuple[int, int], strides: tuple[int, int], latent: int, hop: int):
        super().__init__()
        (c1, c2), (s1, s2) = channels, strides
        self.steps_per_hop = hop // (s1 * s2)
        self.conv1 = BlockConv(2, c1, 2 * s1, s1)
        self.conv2 = BlockConv(c1, c2, 2 * s2, s2)
        self.film_scale, self.film_shift = nn.Linear(latent, c2), nn.Linear(latent, c2)
        self.mid = BlockConv(c2, c2, 3)
        self.up2 = nn.ConvTranspose1d(c2, c1, s2, stride=s2)
        self.post = BlockConv(c1, c1, 3)
        self.up1 = nn.ConvTranspose1d(c1, 1, s1, stride=s1, bias=False)
        for film in (self.film_scale, self.film_shift):
            nn.init.zeros_(film.weight)
            nn.init.zeros_(film.bias)
        nn.init.ones_(self.film_scale.bias)
        with torch.no_grad():
            self.up1.weight.mul_(0.1)  # starts near the filterbank's output alone

    def convs(self) -> dict[str, BlockConv]:
        """The layers with a state, by name."""
        return {"conv1": self.conv1, "conv2": self.conv2, "mid": self.mid, "post": self.post}

    def _per_step(self, x: Tensor) -> Tensor:
        """(B, T, C) by hop -> (B, C, T * steps_per_hop) by step."""
        return F.interpolate(x.transpose(1, 2), scale_factor=float(self.steps_per_hop), mode="nearest")

    def forward(self, x: Tensor, latent: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        new: dict[str, Tensor] = {}

        def conv(name: str, y: Tensor) -> Tensor:
            y, new[f"time_{name}"] = self.convs()[name](y, state[f"time_{name}"])
            return F.leaky_relu(y, SLOPE)

        skip = conv("conv1", x)
        y = conv("conv2", skip)
        y = conv("mid", y * self._per_step(self.film_scale(latent)) + self._per_step(self.film_shift(latent)))
        y = F.leaky_relu(self.up2(y), SLOPE) + skip
        return self.up1(conv("post", y))[:, 0], new
