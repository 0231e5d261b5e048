"""What edge-run makes of the shipped samples, for the JVM tests to compare with.

usage: reference.py BUNDLES OUT ORT_VERSION
Writes OUT/CASE/input.wav and its outputs, and OUT/cases.txt: one line a case, `bundle case min_snr_db`. ORT_VERSION
is that of the JVM's ONNX Runtime: int8 separators round differently in another version.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

from edge import samples
from edge.bundle import open_bundle
from edge.runtime.chain import ChainOptions
from edge.runtime.files import FileOptions, run_file

LIMIT_DB = 80.0
# soxr resamples in two stages where no rate divides the other; the app's resampler matches it to about 70 dB.
RESAMPLED_LIMIT_DB = 55.0
# Of music the enhancer leaves 14 dB less, of the difference between the resamplers not.
RESAMPLED_MUSIC_LIMIT_DB = 45.0
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


# task -> (case, rate, audio, least SNR in dB)
CASES = {
    "enhance": [
        ("speech-16k", 16000, speech_with_pauses, LIMIT_DB),
        ("speech-48k", 48000, speech_48k, LIMIT_DB),
        ("music-44k-stereo", 44100, lambda: music(3.3), RESAMPLED_MUSIC_LIMIT_DB),
    ],
    "separate": [
        ("song-44k", 44100, lambda: samples.song()[0].T, LIMIT_DB),
        ("music-44k", 44100, lambda: music(9.7), LIMIT_DB),
        ("speech-48k-mono", 48000, speech_48k, RESAMPLED_LIMIT_DB),
    ],
}


def main(bundles: Path, out: Path, jvm_version: str) -> None:
    same_version = onnxruntime.__version__ == jvm_version
    lines = []
    for folder in sorted(path.parent for path in bundles.glob("*/manifest.json")):
        bundle = open_bundle(folder)
        task = bundle.manifest.task
        for case, rate, audio, limit in CASES[task]:
            if rate != bundle.manifest.sample_rate and not same_version:
                continue  # resamplers do not depend on it
            place = out / f"{folder.name}-{case}"
            place.mkdir(parents=True)
            source = place / "input.wav"
            soundfile.write(source, audio(), rate, "FLOAT")
            target = place / ("output.wav" if task == "enhance" else "stems")
            options = FileOptions(chain=ChainOptions(stereo=True))  # as the app: stems in the model's channels
            run_file(bundle, source, target, "onnx", threads=1, options=options)
            same_input = rate == bundle.manifest.sample_rate
            same_kernels = same_version or task == "enhance"
            if bundle.manifest.graphs["onnx"].int8_layers() and not (same_input and same_kernels):
                limit = INT8_LIMIT_DB
            lines.append(f"{folder.name} {case} {limit}")
    (out / "cases.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases by edge-run with ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
