"""Clean speech with a stem-edge bundle: python enhance.py BUNDLE NOISY.wav CLEAN.wav (NumPy and ONNX Runtime only)."""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

SILENT_HOPS = 5  # after so many hops below -80 dBFS nothing is run, and the output is zero


class Enhancer:
    """The graph with its states; `step` takes one hop and gives one, which lags by `delay` samples."""

    def __init__(self, bundle, manifest):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")  # int8 on x86 without VNNI
        self.session = onnxruntime.InferenceSession(str(bundle / manifest["graphs"]["onnx"]["file"]), options)
        self.manifest, self.hop = manifest, manifest["hop"]
        self.reset()

    def reset(self):
        self.states = {s["name"]: np.zeros(s["shape"], s["dtype"]) for s in self.manifest["states"]}
        self.silent = 0

    def step(self, frame):
        quiet = np.mean(frame**2) < 1e-8
        paused = self.silent >= SILENT_HOPS
        self.silent = self.silent + 1 if quiet else 0
        if quiet and paused:
            return np.zeros(self.hop, np.float32)  # the states rest
        enhanced, *states = self.session.run(None, {"audio": frame[None], **self.states})
        self.states = dict(zip(self.states, states, strict=True))  # next_NAME, in the same order
        output = enhanced[0].copy()
        if self.silent == SILENT_HOPS:
            output *= np.linspace(1, 0, self.hop, dtype=np.float32)
        elif paused:  # what is said after a pause: its first `delay` samples still belong to the pause
            fade = min(self.manifest["delay"], self.hop)
            output[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
        return output


def check_golden(bundle, manifest, enhancer):
    """This machine must make of the bundle's short input what was made of it at export."""
    golden = manifest["golden"]
    expected = golden["outputs"]["onnx"]
    audio = np.fromfile(bundle / golden["input"]["file"], "<f4")
    output = np.concatenate([enhancer.step(frame) for frame in audio.reshape(-1, enhancer.hop)])[:: golden["stride"]]
    reference = np.fromfile(bundle / expected["file"], "<f4")
    snr = 10 * np.log10(np.sum(reference**2) / max(np.sum((reference - output) ** 2), 1e-30))
    if not snr >= expected["min_snr_db"]:
        sys.exit(f"golden check failed: {snr:.1f} dB, at least {expected['min_snr_db']} needed")
    enhancer.reset()


def main(bundle, noisy, clean):
    manifest = json.loads((bundle / "manifest.json").read_text())
    enhancer = Enhancer(bundle, manifest)
    check_golden(bundle, manifest, enhancer)
    rate, hop, delay = manifest["sample_rate"], manifest["hop"], manifest["delay"]
    with wave.open(str(noisy)) as file:
        if file.getparams()[:3] != (1, 2, rate):
            sys.exit(f"{noisy}: wanted 16-bit PCM at {rate} Hz with one channel; convert it first")
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    # zeros at the end push out what the graph still holds; its first `delay` samples precede the input
    padded = np.pad(audio, (0, -(len(audio) + delay) % hop + delay))
    output = np.concatenate([enhancer.step(frame) for frame in padded.reshape(-1, hop)])
    output = output[delay : delay + len(audio)]
    with wave.open(str(clean), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(output, -1, 1) * 32767).round().astype("<i2").tobytes())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
