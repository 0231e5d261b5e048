"""Signal ratios on NumPy arrays, the same everywhere a figure is printed."""

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


def _decibels(signal: float, error: float) -> float:
    return float(10 * np.log10(max(signal, 1e-20) / max(error, 1e-20)))
