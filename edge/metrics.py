"""Signal ratios and distances of NumPy arrays, the same everywhere a figure is printed."""

import numpy as np


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-distortion ratio in dB over all values, as in the MDX challenges: |s|^2 / |s - s^|^2."""
    reference, estimate = reference.astype(np.float64), estimate.astype(np.float64)
    return _decibels(np.sum(reference**2), np.sum((reference - estimate) ** 2))


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant SDR in dB (Le Roux et al. 2019) of one-dimensional signals, means removed."""
    reference = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    estimate = estimate.astype(np.float64) - estimate.mean(dtype=np.float64)
    target = reference * (np.dot(estimate, reference) / max(np.dot(reference, reference), 1e-20))
    return _decibels(np.sum(target**2), np.sum((target - estimate) ** 2))


def log_spectral_distance(reference: np.ndarray, estimate: np.ndarray, low_hz: float = 4000.0) -> float:
    """Log-spectral distance of (n,) at 16 kHz above `low_hz`, as NU-Wave measures it (Lee & Han 2021): the root mean
    square over bins of the difference of log10 powers, mean over frames.

    Frames of 2048 samples (Hann, hop 512); powers below 1e-8 are raised to there.
    """
    first = int(np.ceil(low_hz / (16000 / 2048)))
    ours, theirs = (np.log10(np.maximum(_power(x)[:, first:], 1e-8)) for x in (estimate, reference))
    return float(np.sqrt(((ours - theirs) ** 2).mean(axis=1)).mean())


def _power(audio: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, 1024, mode="reflect"), 2048)[::512]
    return np.abs(np.fft.rfft(frames * np.hanning(2049)[:-1])) ** 2


def _decibels(signal: float, error: float) -> float:
    return float(10 * np.log10(max(signal, 1e-20) / max(error, 1e-20)))
