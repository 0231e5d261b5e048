"""Bundles and streams of the native library, and its sessions in the form of edge.runtime.session."""

from __future__ import annotations

import ctypes
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.native.library import ENHANCE, EXECUTORCH, ONNX, BundleInfo, Counters, Options, StreamInfo, load_library
from edge.runtime.guard import Counts

_BACKENDS = {"onnx": ONNX, "executorch": EXECUTORCH}


@dataclass(frozen=True)
class StreamOptions:
    """rate, channels: 0 for the model's; latency: s, 0 for the segment; attenuation: dB.

    worker: a thread of its own; block: samples of the longest block then, 0 for a hop.
    mean, deviation: of the whole recording (separators), NaN for running ones. low_delay: rates are converted by
    short filters, as edge.runtime.lowdelay.
    """

    threads: int = 1
    rate: int = 0
    channels: int = 0
    latency: float = 0.0
    attenuation: float = float("inf")
    consistent: bool = False
    worker: bool = False
    block: int = 0
    mean: float = float("nan")
    deviation: float = float("nan")
    low_delay: bool = False


class NativeBundle:
    """A bundle that the native library has opened and checked."""

    def __init__(self, path: str | Path):
        """Raises InputError where it is no bundle, malformed or damaged, and where there is no native library."""
        self.library = load_library()
        handle = ctypes.c_void_p()
        self.library.call("bundle_open", os.fsencode(path), ctypes.byref(handle))
        self.handle = handle.value
        self._close = weakref.finalize(self, self.library.c.stemedge_bundle_close, self.handle)
        self.info = BundleInfo(ctypes.sizeof(BundleInfo))
        self.library.call("bundle_get_info", self.handle, ctypes.byref(self.info))

    def check(self, backend: str, threads: int = 1) -> float:
        """SNR in dB of the golden check; EdgeError where it is below the bundle's limit."""
        snr = ctypes.c_double()
        self.library.call("bundle_check", self.handle, _BACKENDS[backend], threads, ctypes.byref(snr))
        return snr.value

    def text(self, what: str) -> str:
        """`what`: "name", "manifest" or "warning"."""
        needed = ctypes.c_size_t()
        self.library.call(f"bundle_get_{what}", self.handle, None, 0, ctypes.byref(needed))
        text = ctypes.create_string_buffer(needed.value)
        self.library.call(f"bundle_get_{what}", self.handle, text, len(text), None)
        return text.value.decode()

    def close(self) -> None:
        """Its streams go on."""
        self._close()


class NativeStream:
    """n samples in, n samples out, `latency_samples` later; float32 (planes, n), any n."""

    def __init__(self, bundle: NativeBundle, backend: str, options: StreamOptions | None = None):
        self._library = bundle.library
        o, native = options or StreamOptions(), Options()
        self._library.call("options_init", ctypes.byref(native), ctypes.sizeof(native))
        native.backend, native.threads = _BACKENDS[backend], o.threads
        native.sample_rate, native.channels = o.rate, o.channels
        native.latency, native.attenuation_limit = o.latency, o.attenuation
        native.consistent, native.worker, native.block = o.consistent, o.worker, o.block
        native.mean, native.deviation, native.low_delay = o.mean, o.deviation, o.low_delay
        handle = ctypes.c_void_p()
        self._library.call("stream_open", bundle.handle, ctypes.byref(native), ctypes.byref(handle))
        self.handle = handle.value
        self._close = weakref.finalize(self, self._library.c.stemedge_stream_close, self.handle)
        info = StreamInfo(ctypes.sizeof(StreamInfo))
        self._library.call("stream_get_info", self.handle, ctypes.byref(info))
        self.sample_rate, self.latency_samples = info.sample_rate, info.latency
        self.inputs, self.outputs = info.inputs, info.outputs

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (inputs, n) to float32 (outputs, n)."""
        samples = np.ascontiguousarray(samples, np.float32)
        if samples.ndim != 2 or samples.shape[0] != self.inputs:
            raise ValueError(f"the stream takes ({self.inputs}, n), not {samples.shape}")
        out = np.empty((self.outputs, samples.shape[1]), np.float32)
        self._library.call("stream_process", self.handle, _planes(samples), _planes(out), samples.shape[1])
        return out

    def flush(self) -> np.ndarray:
        """The last `latency_samples`; the stream is reset afterwards."""
        out = np.empty((self.outputs, self.latency_samples), np.float32)
        self._library.call("stream_flush", self.handle, _planes(out))
        return out

    def reset(self) -> None:
        """Forget all input."""
        self._library.call("stream_reset", self.handle)

    def set_attenuation_limit(self, db: float) -> None:
        """0 leaves the input untouched, infinity limits nothing; reached within 20 ms."""
        self._library.call("stream_set_attenuation_limit", self.handle, db)

    def set_offline(self, offline: bool) -> None:
        """Whether `process` waits for the worker."""
        self._library.call("stream_set_offline", self.handle, offline)

    def counters(self) -> Counters:
        counters = Counters(ctypes.sizeof(Counters))
        self._library.call("stream_get_counters", self.handle, ctypes.byref(counters))
        return counters

    def close(self) -> None:
        self._close()


class NativeSession:
    """A native stream as an edge.runtime.session.Session: its output is aligned with the input."""

    def __init__(self, stream: NativeStream, shape_out: tuple[int, ...], hop: int):
        """shape_out: () for an enhancer of one channel, (sources, channels) for a separator; hop: in samples."""
        self._stream, self.hop = stream, hop
        self.sample_rate, self.latency_samples = stream.sample_rate, stream.latency_samples
        self.shape_out: tuple[int, ...] = shape_out
        self.shape_in: tuple[int, ...] = (stream.inputs,) if shape_out else ()
        self.counts = Counts()
        self._skip = self.latency_samples

    def process(self, samples: np.ndarray, /) -> np.ndarray:
        """float32 (n,) or (channels, n) to what is ready."""
        return self._aligned(self._stream.process(np.atleast_2d(samples)))

    def flush(self) -> np.ndarray:
        """The rest; the session is reset afterwards."""
        out = self._aligned(self._stream.flush())
        self._skip = self.latency_samples
        return out

    def reset(self) -> None:
        """Forget all input; the counts go on."""
        self._stream.reset()
        self._skip = self.latency_samples

    def _aligned(self, out: np.ndarray) -> np.ndarray:
        counters = self._stream.counters()
        for name in vars(self.counts):  # others hold the same object
            setattr(self.counts, name, getattr(counters, name))
        skipped = min(self._skip, out.shape[1])
        self._skip -= skipped
        return out[:, skipped:].reshape(*self.shape_out, out.shape[1] - skipped)


class NativeGraph:
    """A bundle's graph in the native library, in the place of edge.runtime.graphs.LoadedGraph: it makes sessions."""

    def __init__(self, path: str | Path, backend: str, threads: int = 1):
        """Raises InputError where there is no native library, or it or the bundle lacks the backend."""
        self._bundle, self._backend, self._threads = NativeBundle(path), backend, threads
        self._first = self.new_session()  # holds the graph, of which failures show here

    def new_session(
        self, latency: float | None = None, whole: tuple[float, float] | None = None, consistent: bool = False
    ) -> NativeSession:
        """whole: mean and deviation of the whole recording; the rest as in edge.runtime.session.new_session."""
        info = self._bundle.info
        if info.task == ENHANCE:
            stream = NativeStream(self._bundle, self._backend, StreamOptions(self._threads))
            return NativeSession(stream, (), info.hop)
        mean, deviation = whole or (float("nan"), float("nan"))
        options = StreamOptions(
            self._threads, latency=latency or 0.0, consistent=consistent, mean=mean, deviation=deviation
        )
        stream = NativeStream(self._bundle, self._backend, options)
        hop = info.hop if whole else stream.latency_samples // 2
        return NativeSession(stream, (info.sources, info.channels), hop)


def _planes(array: np.ndarray):
    """The C array of pointers to the rows of float32 (planes, n)."""
    pointer = ctypes.POINTER(ctypes.c_float)
    return (pointer * len(array))(*(ctypes.cast(row.ctypes.data, pointer) for row in array))
