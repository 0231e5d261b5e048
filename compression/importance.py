"""Importance from data: how much of the output's energy goes with each channel, to first order.

Removing a channel scales it from 1 to 0; the output f then changes by about J w, the sum over the channel's weights w
of w * df/dw. The expectation of (v . J w)^2 over random unit-variance v is |J w|^2, so a few backward passes from
random outputs give the energy of that change for every channel at once (a Taylor expansion as in Molchanov et al.
2019, arXiv:1906.10771, of the output itself). No targets are needed, and energies compare across layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

_CLIPS, CLIP_SECONDS = 6, 2.0
_PROBES = 5
_QUIETEST = 0.03  # of the loudest output's RMS: a silent source does not count without bound


def cut(audio: np.ndarray, length: int) -> list[Tensor]:
    """Clips (channels, length) from all over a recording (channels, n)."""
    starts = np.linspace(0, audio.shape[-1] - length, _CLIPS).astype(int)
    return [torch.from_numpy(np.ascontiguousarray(audio[:, s : s + length], np.float32)) for s in starts]


Forward = Callable[[nn.Module, Tensor], Tensor]


def probe_gradients(
    model: nn.Module, forward: Forward, clips: Sequence[Tensor], probes: int = _PROBES, seed: int = 0
) -> Iterator[None]:
    """Yield once for each of `probes` random outputs a clip, with the parameters' `grad` set from it.

    forward: (model, clip) to the output that counts. Each source counts relative to its own energy, floored at -30 dB
    of the loudest one's.
    """
    generator = torch.Generator().manual_seed(seed)
    for clip in clips:
        output = forward(model, clip)
        energy = output.detach().flatten(2).square().sum(2) if output.dim() > 2 else output.detach().square().sum()
        weight = energy.clamp_min(_QUIETEST**2 * energy.max() + 1e-12).rsqrt()
        weight = weight.reshape(*weight.shape, *[1] * (output.dim() - weight.dim()))
        for probe in range(probes):
            model.zero_grad(set_to_none=False)
            noise = torch.randn(output.shape, generator=generator)
            (output * noise * weight).sum().backward(retain_graph=probe + 1 < probes)
            yield


def mean_squares(
    model: nn.Module, forward: Forward, clips: Sequence[Tensor], scores: Callable[[], list[Tensor]]
) -> list[Tensor]:
    """Mean over all probes of the squares of what `scores` reads from the parameters and their gradients."""
    totals: list[Tensor] = []
    count = 0
    for _ in probe_gradients(model, forward, clips):
        squares = [score.double().square() for score in scores()]
        totals = squares if not totals else [a + b for a, b in zip(totals, squares, strict=True)]
        count += 1
    return [(total / count).detach() for total in totals]
