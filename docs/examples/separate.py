"""Separate a song with a stem-edge bundle: python separate.py BUNDLE SONG.wav FOLDER (NumPy and ONNX Runtime only)."""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime


def read_wav(path, rate, channels):
    with wave.open(str(path)) as file:
        if file.getframerate() != rate or file.getsampwidth() != 2 or file.getnchannels() not in (1, channels):
            sys.exit(f"{path}: wanted 16-bit PCM at {rate} Hz with {channels} channel(s); convert it first")
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return np.repeat(audio.T, channels // audio.shape[1], axis=0).astype(np.float32) / 32768


def write_wav(path, audio, rate):
    with wave.open(str(path), "wb") as file:
        file.setparams((audio.shape[0], 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(audio.T, -1, 1) * 32767).round().astype("<i2").tobytes())


def check_golden(bundle, manifest, run):
    """This machine must make of the bundle's short input what was made of it at export."""
    golden, segment = manifest["golden"], manifest["segment"]
    expected = golden["outputs"]["onnx"]
    audio = np.fromfile(bundle / golden["input"]["file"], "<f4").reshape(golden["input"]["shape"])
    mix = np.tile(audio, -(-segment // audio.shape[1]))[:, :segment]
    output = run(mix)[..., :: golden["stride"]]
    reference = np.fromfile(bundle / expected["file"], "<f4").reshape(expected["shape"])
    snr = 10 * np.log10(np.sum(reference**2) / max(np.sum((reference - output) ** 2), 1e-30))
    if not snr >= expected["min_snr_db"]:
        sys.exit(f"golden check failed: {snr:.1f} dB, at least {expected['min_snr_db']} needed")


def separate(mix, manifest, run):
    """(channels, n) to stems (sources, channels, n): overlapping segments, each weighted by a triangle."""
    segment, hop, n = manifest["segment"], manifest["hop"], mix.shape[1]
    mono = mix.mean(axis=0)
    apart = np.mean((mix - mono) ** 2)  # where the channels cancel in the mono mix, they count themselves
    mean, scale = mono.mean(), max(mono.std(), 0.3 * np.sqrt(mono.var() + apart)) + 1e-8
    triangle = np.minimum(np.arange(1, segment + 1), np.arange(segment, 0, -1)).astype(np.float32)
    stems = np.zeros((len(manifest["sources"]), *mix.shape), np.float32)
    weights = np.zeros(n, np.float32)
    # outside of the recording there are zeros, also in what is normalised
    heard, given = (np.pad(x, ((0, 0), (segment, segment))) for x in (mix, (mix - mean) / scale))
    for start in range(0, n, hop):
        length = min(segment, n - start)
        before = (segment - length) // 2  # a last segment that is not full is centred in the audio around it
        part = slice(segment + start - before, segment + start - before + segment)
        if np.sum(heard[:, part] ** 2, axis=1).max() < 1e-8 * (before + length):  # below -80 dBFS: needs no run
            output = np.full((len(stems), len(mix), segment), -mean / scale, np.float32)
        else:
            output = run(given[:, part])
        stems[..., start : start + length] += triangle[:length] * output[..., before : before + length]
        weights[start : start + length] += triangle[:length]
    return stems / weights * scale + mean


def main(bundle, song, folder):
    manifest = json.loads((bundle / "manifest.json").read_text())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 on x86 without VNNI
    session = onnxruntime.InferenceSession(str(bundle / manifest["graphs"]["onnx"]["file"]), options)

    def run(mix):
        return session.run(["stems"], {"mix": mix[None].astype(np.float32)})[0][0]

    check_golden(bundle, manifest, run)
    stems = separate(read_wav(song, manifest["sample_rate"], manifest["channels"]), manifest, run)
    folder.mkdir(parents=True, exist_ok=True)
    for name, stem in zip(manifest["sources"], stems, strict=True):
        write_wav(folder / f"{name}.wav", stem, manifest["sample_rate"])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
