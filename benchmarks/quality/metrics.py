"""Figures of enhanced speech and separated stems; the published implementations where there are any."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import numpy as np
from scipy.signal import stft

from edge.errors import InputError
from edge.metrics import sdr, si_sdr

RATE = 16000
SILENCE_DBFS = -120.0  # what is quieter counts as this
UNITS = {
    "pesq": "PESQ-wb",
    "estoi": "ESTOI",
    "si_sdr": "SI-SDR dB",
    "kept": "voice dB",
    "dnsmos": "DNSMOS",
    "lsd": "LSD",
    "residual": "dBFS",
    "sdr": "SDR dB",
    "bss_sdr": "BSSEval SDR dB",
}
SMALLER_IS_BETTER = ("lsd", "residual")


def load_metrics() -> None:
    """Import what speech is judged with, so that a missing package shows before the work. InputError names it."""
    for name in ("pesq", "pystoi", "speechmos", "librosa"):
        _import(name)


def pesq_wb(clean: np.ndarray, estimate: np.ndarray) -> float | None:
    """Wide-band PESQ (ITU-T P.862.2) of (n,) at 16 kHz; None where it finds no speech in either."""
    pesq = _import("pesq")
    try:
        return float(pesq.pesq(RATE, clean, estimate, "wb"))
    except (pesq.NoUtterancesError, pesq.BufferTooShortError):
        return None


def estoi(clean: np.ndarray, estimate: np.ndarray) -> float | None:
    """Extended short-time objective intelligibility of (n,) at 16 kHz; None below half a second."""
    if len(clean) < RATE // 2:
        return None
    return float(_import("pystoi").stoi(clean, estimate, RATE, extended=True))


def dnsmos(estimate: np.ndarray) -> float:
    """DNSMOS P.835 overall (a network's guess of a listener's score, no reference) of (n,) at 16 kHz."""
    peak = float(np.abs(estimate).max(initial=0))  # it refuses what is beyond full scale
    return float(_dnsmos().run(estimate / max(1.0, peak), RATE)["ovrl_mos"])


def level_dbfs(audio: np.ndarray) -> float:
    """RMS level in dB of full scale."""
    return max(SILENCE_DBFS, float(10 * np.log10(max(np.mean(np.square(audio, dtype=np.float64)), 1e-20))))


def kept_db(clean: np.ndarray, estimate: np.ndarray) -> float:
    """What is left of a voice, in dB of its energy, of (n,) at 16 kHz: 0 where nothing was taken away, -60 at least.

    Over bins of 32 ms by 31 Hz, of which none counts for more than the voice has there: what was added makes up
    for nothing that is lost elsewhere, and phases do not matter.
    """
    voice, found = (np.abs(stft(audio, RATE, nperseg=512)[2]) ** 2 for audio in (clean, estimate))
    left = np.minimum(voice, found).sum() / max(voice.sum(), 1e-20)
    return float(10 * np.log10(max(left, 1e-6)))


def speech_scores(clean: np.ndarray, estimate: np.ndarray, with_dnsmos: bool = True) -> dict[str, float | None]:
    """PESQ, ESTOI, SI-SDR and what is left of the voice, of (n,) pairs at 16 kHz, and DNSMOS."""
    clean, estimate = clean.astype(np.float32), estimate.astype(np.float32)
    scores = {"pesq": pesq_wb(clean, estimate), "estoi": estoi(clean, estimate), "si_sdr": si_sdr(clean, estimate)}
    scores |= {"kept": kept_db(clean, estimate)}
    return scores | ({"dnsmos": dnsmos(estimate)} if with_dnsmos else {})


def stem_scores(stem: np.ndarray, estimate: np.ndarray, rate: int) -> dict[str, float | None]:
    """SDR as in the MDX challenges, SI-SDR over both channels, and BSSEval's, of (2, n)."""
    scores = {"sdr": sdr(stem, estimate), "si_sdr": si_sdr(stem.reshape(-1), estimate.reshape(-1))}
    return scores | {"bss_sdr": bss_eval_sdr(stem, estimate, rate)}


def bss_eval_sdr(stem: np.ndarray, estimate: np.ndarray, rate: int) -> float | None:
    """BSSEval v4 SDR as museval reports it: the median of the SDR over windows of 1 s, of (2, n).

    Its 512-tap filters only split the error into parts: the SDR is that of the whole error. Windows in which the
    stem or the estimate is silent do not count; None where no window is left.
    """
    values = []
    for start in range(0, stem.shape[-1] - rate + 1, rate):
        true, found = (x[..., start : start + rate] for x in (stem, estimate))
        if true.any() and found.any():
            values.append(sdr(true, found))
    return float(np.median(values)) if values else None


def summary(values: list[float], seed: int = 0, draws: int = 2000) -> dict[str, float]:
    """{"mean", "low", "high", "files"}: the mean, and its 95 % interval by bootstrap over files."""
    array = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(array), size=(draws, len(array)))
    low, high = np.percentile(array[picks].mean(axis=1), [2.5, 97.5])
    rounded = {"mean": array.mean(), "low": low, "high": high}
    return {key: round(float(value), 4) for key, value in rounded.items()} | {"files": len(array)}


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f'evaluation needs the package {error.name}: pip install "stem-edge[eval]"') from error


@functools.cache
def _dnsmos() -> Any:
    return _import("speechmos.dnsmos")
