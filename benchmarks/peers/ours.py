"""Adapters of our own bundles and checkpoints, in the same worker as the peers (see worker.py)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edge.bundle import open_bundle
from edge.interface import Interface
from edge.runtime.graphs import Graph, default_backend, load_graph
from edge.runtime.shaping import audible
from edge.runtime.streams import EnhancerStream, Separator, Statistics


class BundleAdapter:
    """A bundle through the streaming runtime; `backend` defaults to ONNX where the bundle has it."""

    def __init__(self, threads: int, path: str, backend: str = ""):
        bundle = open_bundle(path)
        manifest, backend = bundle.manifest, backend or default_backend(bundle)
        self.rate, self.channels, self.sources = manifest.sample_rate, manifest.channels, list(manifest.sources)
        self.size_bytes = manifest.graphs[backend].bytes
        self.version = f"{manifest.name}, {manifest.graphs[backend].made_in()}, {backend}"
        self.latency = manifest.latency_samples
        self._manifest, self._graph = manifest, load_graph(bundle, backend, threads)
        self._enhance = manifest.task == "enhance"
        self.hop = manifest.hop if self._enhance else manifest.segment
        if self._enhance:
            self._stream = EnhancerStream(manifest, self._graph)

    def step(self, frame: np.ndarray) -> np.ndarray:
        """One hop of a stream, or one segment (channels, segment) of a song, overlap not counted."""
        return self._stream.process(frame) if self._enhance else self._graph([frame[None]])[0]

    def run(self, audio: np.ndarray) -> np.ndarray:
        if self._enhance:
            return through(self._manifest, self._graph, audio[0])[None, None]
        return through(self._manifest, self._graph, audio)


class CheckpointAdapter:
    """A checkpoint through its torch network, whole recordings at once."""

    def __init__(self, threads: int, path: str):
        import torch

        from edge.checkpoints import load_checkpoint
        from edge.export.architectures import interface_of
        from edge.models.architectures import architecture_of

        torch.set_num_threads(threads)
        self.hop, self.version = 0, f"{Path(path).name}, torch {torch.__version__}"
        self.size_bytes = os.path.getsize(path)
        self.network = load_checkpoint(path)
        self._process, interface = architecture_of(self.network).process, interface_of(self.network)
        self.rate, self.channels, self.sources = interface.sample_rate, interface.channels, interface.sources
        self.latency, self._enhance = interface.latency_samples, interface.task == "enhance"

    def run(self, audio: np.ndarray) -> np.ndarray:
        if self._enhance:
            return self._process(self.network, audio[0])[None, None]
        return self._process(self.network, audio)


def through(interface: Interface, graph: Graph, audio: np.ndarray) -> np.ndarray:
    """A whole recording as files go: (n,) to (n,), or a song (channels, n), normalised by its statistics, to stems
    float32 (sources, channels, n)."""
    stream: EnhancerStream | Separator
    if interface.task == "enhance":
        stream = EnhancerStream(interface, graph)
    else:
        statistics = Statistics()
        statistics.update(audible(audio).T)
        stream = Separator(interface, graph, statistics.mean, statistics.std)
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)
