"""What edge-run makes of the shipped samples, for the JVM tests to compare with.

usage: reference.py BUNDLES OUT ORT_VERSION
Writes OUT/CASE/input.wav and its outputs, and OUT/cases.txt: one line a case, `bundle case min_snr_db band limit`,
band `full` or `model`, the attenuation limit in dB or `none`. ORT_VERSION is that of the JVM's ONNX Runtime: int8
separators round differently in another version.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

from edge import samples
from edge.bundle import open_bundle
from edge.runtime.chain import ChainOptions
from edge.runtime.files import FileOptions, run_file
from edge.runtime.shaping import Shaping

LIMIT_DB = 80.0
# soxr resamples in two stages where no rate divides the other; the app's resampler matches it to about 70 dB.
RESAMPLED_LIMIT_DB = 55.0
# Music is neither speech nor noise to the enhancer: a disturbance 60 dB below it is 45 dB below what is left of it.
RESAMPLED_MUSIC_LIMIT_DB = 33.0
# int8 graphs turn the least difference of their input into steps of their activations.
INT8_LIMIT_DB = 15.0


def speech_48k() -> np.ndarray:
    """Noisy speech at 48 kHz with noise up to the top, float32 (n, 1)."""
    audio = soxr.resample(samples.speech()[0][: 5 * 16000], 16000, 48000)
    return (audio + 0.01 * np.random.default_rng(0).standard_normal(len(audio)))[:, None].astype(np.float32)


def speech_with_pauses() -> np.ndarray:
    """Noisy speech at 16 kHz, digital silence in it and at its end, float32 (n, 1)."""
    audio = samples.speech()[0]
    pause = np.zeros(9001, np.float32)
    return np.concatenate([audio[:40001], pause, audio[40001:], pause[:5000]])[:, None]


def music(seconds: float) -> np.ndarray:
    """A real recording at 44.1 kHz, float32 (n, 2)."""
    audio, rate = samples.read("music_real.ogg")
    return audio.T[: int(seconds * rate)]


def voice(speed: float) -> np.ndarray:
    """Clean speech at 48 kHz, at `speed`, with images of its band in the band above, float32 (n, 1)."""
    recording = soxr.resample(samples.speech()[1][: 4 * 16000], 16000 * speed, 16000)
    images = np.zeros(3 * len(recording))
    images[::3] = recording
    spectrum = np.fft.rfft(images)
    spectrum[: len(spectrum) // 3] = 0
    whole = soxr.resample(recording, 16000, 48000)
    return (whole + 0.3 * np.fft.irfft(spectrum, len(images))[: len(whole)])[:, None].astype(np.float32)


def noise(colour: float) -> np.ndarray:
    """Noise at 48 kHz, its power falling with frequency ** colour, float32 (n, 1)."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(4 * 48000))
    audio = np.fft.irfft(spectrum / (np.arange(len(spectrum)) + 1) ** (colour / 2))
    return (0.05 * audio / audio.std())[:, None].astype(np.float32)


MODEL, FULL, GENTLE, UNTOUCHED = Shaping(), Shaping(True), Shaping(True, 12.0), Shaping(True, 0.0)
# task -> (case, rate, audio, least SNR in dB, shaping)
CASES = {
    "enhance": [
        ("speech-16k", 16000, speech_with_pauses, LIMIT_DB, MODEL),
        ("speech-16k-12dB", 16000, speech_with_pauses, LIMIT_DB, GENTLE),
        ("speech-48k", 48000, speech_48k, LIMIT_DB, MODEL),
        ("speech-48k-full", 48000, speech_48k, LIMIT_DB, FULL),
        ("speech-48k-0dB", 48000, speech_48k, LIMIT_DB, UNTOUCHED),
        *((f"voice-{speed}-48k-full", 48000, partial(voice, speed), LIMIT_DB, FULL) for speed in (0.85, 1.0, 1.2)),
        ("white-48k-full", 48000, partial(noise, 0), LIMIT_DB, FULL),
        ("pink-48k-full", 48000, partial(noise, 1), LIMIT_DB, FULL),
        ("white-48k-12dB", 48000, partial(noise, 0), LIMIT_DB, GENTLE),
        ("music-44k-stereo", 44100, partial(music, 3.3), RESAMPLED_MUSIC_LIMIT_DB, MODEL),
        ("music-44k-stereo-full", 44100, partial(music, 3.3), RESAMPLED_MUSIC_LIMIT_DB, FULL),
    ],
    "separate": [
        ("song-44k", 44100, lambda: samples.song()[0].T, LIMIT_DB, MODEL),
        ("music-44k", 44100, partial(music, 9.7), LIMIT_DB, MODEL),
        ("speech-48k-mono", 48000, speech_48k, RESAMPLED_LIMIT_DB, MODEL),
    ],
}


def main(bundles: Path, out: Path, jvm_version: str) -> None:
    same_version = onnxruntime.__version__ == jvm_version
    lines = []
    for folder in sorted(path.parent for path in bundles.glob("*/manifest.json")):
        bundle = open_bundle(folder)
        task = bundle.manifest.task
        for case, rate, audio, limit, shaping in CASES[task]:
            if rate != bundle.manifest.sample_rate and not same_version:
                continue  # resamplers do not depend on it
            place = out / f"{folder.name}-{case}"
            place.mkdir(parents=True)
            source = place / "input.wav"
            soundfile.write(source, audio(), rate, "FLOAT")
            target = place / ("output.wav" if task == "enhance" else "stems")
            options = FileOptions(chain=ChainOptions(stereo=True, shaping=shaping))  # stems in the model's channels
            run_file(bundle, source, target, "onnx", threads=1, options=options)
            same_input = rate == bundle.manifest.sample_rate
            same_kernels = same_version or task == "enhance"
            if bundle.manifest.graphs["onnx"].int8_layers() and not (same_input and same_kernels):
                limit = INT8_LIMIT_DB
            band, strength = "full" if shaping.full_band else "model", shaping.atten_limit
            lines.append(f"{folder.name} {case} {limit} {band} {'none' if strength is None else strength}")
    (out / "cases.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases by edge-run with ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
