"""Training losses and the metrics they are judged by."""

from __future__ import annotations

import torch
from torch import Tensor


def sdr(estimate: Tensor, reference: Tensor, eps: float = 1e-8) -> Tensor:
    """Signal-to-distortion ratio in dB over the last dimension(s) given: inputs (..., N) -> (...).

    The definition of the MDX challenges: 10 log10(|s|^2 / |s - s^|^2), over whole signals.
    """
    error = (reference - estimate).square().sum(-1)
    return 10 * torch.log10((reference.square().sum(-1) + eps) / (error + eps))


def si_sdr(estimate: Tensor, reference: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale-invariant SDR in dB (Le Roux et al. 2019), means removed: (..., N) -> (...)."""
    estimate = estimate - estimate.mean(-1, keepdim=True)
    reference = reference - reference.mean(-1, keepdim=True)
    scale = (estimate * reference).sum(-1, keepdim=True) / (reference.square().sum(-1, keepdim=True) + eps)
    return sdr(estimate, scale * reference, eps)


def stft_loss(
    estimate: Tensor, reference: Tensor, sizes: tuple[int, ...], power: float = 0.3, phase: float = 0.0
) -> Tensor:
    """Multi-resolution loss on compressed spectra, mean over sizes: (B, N) pairs -> scalar.

    |X|^power weighs quiet parts nearer to how they are heard; `phase` adds that much of the distance between the
    complex spectra compressed in the same way (Braun & Tashev 2021).
    """
    total = estimate.new_zeros(())
    for size in sizes:
        window = torch.hann_window(size, device=estimate.device)
        a, b = (
            torch.stft(x.float(), size, size // 4, window=window, return_complex=True) for x in (estimate, reference)
        )
        # the floor, 70 dB below a signal of unit power, keeps the roots' gradients near zero from drowning the rest
        squares = [z.real.square() + z.imag.square() + 1e-5 for z in (a, b)]
        total = total + (squares[0] ** (power / 2) - squares[1] ** (power / 2)).abs().mean()
        if phase:
            x, y = (z * s ** ((power - 1) / 2) for z, s in zip((a, b), squares, strict=True))
            total = total + phase * ((x.real - y.real).abs() + (x.imag - y.imag).abs()).mean()
    return total / len(sizes)


def enhancer_loss(estimate: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
    """Negative SNR, soft-limited at 30 dB, plus the STFT loss on signals at a common level: (B, N) -> scalar."""
    level = noisy.square().mean(-1, keepdim=True).sqrt() + 1e-5
    estimate, clean = estimate / level, clean / level
    error = (clean - estimate).square().mean(-1)
    snr = -10 * torch.log10((clean.square().mean(-1) + 1e-4) / (error + 1e-3 * clean.square().mean(-1) + 1e-4))
    return snr.mean() / 10 + 3 * stft_loss(estimate, clean, (256, 512, 1024), phase=0.3)


def separation_loss(estimate: Tensor, stems: Tensor) -> Tensor:
    """L1 on waveforms plus the STFT loss: (B, S, C, N) -> scalar."""
    waveform = (estimate - stems).abs().mean()
    flat = [x.reshape(-1, x.shape[-1]) for x in (estimate, stems)]
    return waveform + 0.2 * stft_loss(flat[0], flat[1], (1024, 4096))
