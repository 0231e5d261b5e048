"""Training losses and the metrics they are judged by."""

from __future__ import annotations

import torch
from torch import Tensor

from edge.models.enhancer.filterbank import power_law
from edge.training.pesq_loss import pesq_disturbance

PESQ_WEIGHT = 0.3  # a tenth of a MOS is then worth a quarter of a decibel


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
    estimate: Tensor,
    reference: Tensor,
    sizes: tuple[int, ...],
    power: float = 0.3,
    phase: float = 0.0,
    removed: float = 0.0,
    given: Tensor | None = None,
) -> Tensor:
    """Multi-resolution loss on compressed spectra, mean over sizes: (B, N) pairs -> scalar.

    |X|^power weighs quiet parts nearer to how they are heard; `phase` adds that much of the distance between the
    complex spectra compressed in the same way (Braun & Tashev 2021), `removed` that much of the magnitude that the
    estimate lacks and the input `given` had: a band that was lost is not taken away.
    """
    total = estimate.new_zeros(())
    for size in sizes:
        with torch.no_grad():
            y_pairs, y = _compressed(reference, size, power)
            had = y if given is None else torch.minimum(y, _compressed(given, size, power)[1])
        x_pairs, x = _compressed(estimate, size, power)
        total = total + (x - y).abs().mean()
        if removed:
            total = total + removed * (had - x).clamp_min(0).mean()
        if phase:
            total = total + 2 * phase * (x_pairs - y_pairs).abs().mean()
    return total / len(sizes)


def _compressed(audio: Tensor, size: int, power: float) -> tuple[Tensor, Tensor]:
    """The spectrum with its magnitude to the given power, as pairs along the first dimension, and that magnitude."""
    window = torch.hann_window(size, device=audio.device)
    spectrum = torch.stft(audio.float(), size, size // 2, window=window, return_complex=True)
    pairs = torch.stack([spectrum.real, spectrum.imag])
    # the floor, 70 dB below a signal of unit power, keeps the roots' gradients near zero from drowning the rest
    return power_law(pairs, 0, power, 1e-5, True)


def enhancer_loss(estimate: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
    """Negative SNR, soft-limited at 30 dB, spectra at one of three sizes, PESQ, at a common level: (B, N) -> scalar.

    The SNR counts less where the input's is low: a far voice in a room is no waveform to be had, and the SNR is then
    best where the voice is gone. So it does where the input's is high: what such a voice lacks is a lost band, whose
    waveform nobody can know, and the SNR is then best where the band stays empty. Speech taken away costs more than
    noise left in.
    """
    level = noisy.square().mean(-1, keepdim=True).sqrt() + 1e-5
    estimate, clean, noisy = estimate / level, clean / level, noisy / level
    power = clean.square().mean(-1)
    snr = 10 * torch.log10((power + 1e-4) / ((clean - estimate).square().mean(-1) + 1e-3 * power + 1e-4))
    given = sdr(noisy, clean)
    weight = torch.minimum((given + 10) / 15, (24 - given) / 10).clamp(0.1, 1)
    size = (256, 512, 1024)[int(torch.randint(3, ()))]  # one resolution a step: all of them cost a third of it
    spectra = stft_loss(estimate, clean, (size,), phase=0.3, removed=0.5, given=noisy)
    disturbance = pesq_disturbance(estimate, clean) * (power > 1e-3)  # there is no score of a silent reference
    return -(weight * snr).mean() / 10 + 2 * spectra + PESQ_WEIGHT * disturbance.mean()


def separation_loss(estimate: Tensor, stems: Tensor) -> Tensor:
    """Negative SDR of each source, soft-limited at 20 dB below the mixture, plus the STFT loss: (B, S, C, N) -> scalar.

    An L1 loss alone has a dead end: a source that is hard to find is best left out. So has a lower limit: what leaks
    into its pauses would count for more than the source itself.
    """
    floor = 1e-2 * stems.sum(1, keepdim=True).square().mean((2, 3)) + 1e-6
    power, error = (x.square().mean((2, 3)) for x in (stems, stems - estimate))
    snr = 10 * torch.log10((power + floor) / (error + floor))
    middle = [x.mean(2).reshape(-1, x.shape[-1]) for x in (estimate, stems)]  # the sides are in the SDR
    return -snr.mean() / 10 + 0.5 * stft_loss(middle[0], middle[1], (1024, 4096))
