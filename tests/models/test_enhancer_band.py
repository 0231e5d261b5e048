"""The shipped enhancer on recordings of 48 kHz: its strength, and the band above its own."""

import numpy as np
import pytest
import soundfile
import soxr

from edge import samples
from edge.bundle import open_bundle
from edge.cli.run import main
from edge.runtime.graphs import load_graph
from edge.runtime.session import Live, new_session
from edge.runtime.shaping import Shaping, shaped

RATE = 48_000


@pytest.fixture(scope="module")
def enhancer():
    bundle = open_bundle("enhancer")
    return bundle, load_graph(bundle, "onnx")


def folded(recording: np.ndarray) -> np.ndarray:
    """48 kHz of (n,) at 16 kHz, with images of its band above it: what lies there comes and goes with the voice."""
    images = np.zeros(3 * len(recording), np.float32)
    images[::3] = recording
    whole = soxr.resample(recording, 16_000, RATE)[: len(images)]
    return (whole + 0.3 * above(images)[: len(whole)]).astype(np.float32)


def above(audio: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(audio)
    spectrum[np.fft.rfftfreq(len(audio), 1 / RATE) < 8_000] = 0
    return np.fft.irfft(spectrum, len(audio))


def level(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-20))


def voice(speed: float) -> np.ndarray:
    clean = samples.speech()[1][: 8 * 16_000]
    return folded(soxr.resample(clean, 16_000 * speed, 16_000))


def noise(kind: str, seconds: int = 6) -> np.ndarray:
    white = np.random.default_rng(0).standard_normal(seconds * RATE)
    spectrum = np.fft.rfft(white)
    if kind == "pink":
        spectrum /= np.sqrt(np.arange(len(spectrum)) + 1)
    audio = np.fft.irfft(spectrum, len(white))
    return (0.05 * audio / audio.std()).astype(np.float32)


def enhanced(enhancer, audio: np.ndarray, **shaping) -> np.ndarray:
    stream = shaped(new_session(*enhancer), RATE, Shaping(**shaping))
    return np.concatenate([*(stream.process(b) for b in np.array_split(audio, 50)), stream.flush()])


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.2])
def test_the_band_above_stays_in_clean_speech(enhancer, speed):
    audio = voice(speed)
    out = enhanced(enhancer, audio, full_band=True)
    assert abs(level(above(out)) - level(above(audio))) < 3


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_the_band_above_falls_with_the_noise_below(enhancer, kind):
    audio = noise(kind)
    out = enhanced(enhancer, audio, full_band=True)
    heard, left = audio[RATE:], out[RATE:]
    high = level(above(heard)) - level(above(left))
    low = level(heard - above(heard)) - level(left - above(left))
    assert low > 10 and high > low / 2


def test_twelve_db_of_noise_and_no_more(enhancer, tmp_path):
    """In a file and live; the model leaves 2 % of white noise, which the mix holds too."""
    audio = noise("white")
    soundfile.write(tmp_path / "in.wav", audio, RATE, "FLOAT")
    assert main(["enhancer", str(tmp_path / "in.wav"), "--atten-limit", "12", "-o", str(tmp_path / "out.wav")]) == 0
    live = Live(shaped(new_session(*enhancer), RATE, Shaping(True, 12.0)))
    heard = np.concatenate([*(live.process(b) for b in np.split(audio, len(audio) // 480)), live.flush()])
    for out in (soundfile.read(tmp_path / "out.wav")[0], heard[live.latency_samples :]):
        assert level(audio[RATE:]) - level(out[RATE:]) == pytest.approx(12, abs=0.5)
