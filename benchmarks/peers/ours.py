"""Adapters of our own bundles and checkpoints, in the same worker as the peers (see worker.py)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edge.bundle import (
    BeforeAfter,
    Compression,
    Golden,
    GoldenInput,
    GoldenOutput,
    GraphRecord,
    Manifest,
    Quality,
    TensorSpec,
    open_bundle,
)
from edge.errors import InputError
from edge.runtime.graphs import default_backend, load_graph
from edge.runtime.streams import EnhancerStream, Separator, Statistics


class BundleAdapter:
    """A bundle through the streaming runtime; `backend` defaults to ONNX where the bundle has it."""

    def __init__(self, threads: int, path: str, backend: str = ""):
        bundle = open_bundle(path)
        manifest, backend = bundle.manifest, backend or default_backend(bundle)
        self.rate, self.channels, self.sources = manifest.sample_rate, manifest.channels, list(manifest.sources)
        self.size_bytes = manifest.graphs[backend].bytes
        self.version = f"{manifest.name}, {manifest.precision}, {backend}"
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
            return _whole(EnhancerStream(self._manifest, self._graph), audio[0])[None, None]
        return separate(self._manifest, self._graph, audio)


class CheckpointAdapter:
    """A checkpoint through its torch network, whole recordings at once."""

    def __init__(self, threads: int, path: str):
        import torch

        from edge.checkpoints import load_checkpoint
        from edge.models.enhancer import Enhancer
        from edge.models.htdemucs import HTDemucs

        torch.set_num_threads(threads)
        self.hop, self.version = 0, f"{Path(path).name}, torch {torch.__version__}"
        self.size_bytes = os.path.getsize(path)
        network = load_checkpoint(path)
        if not isinstance(network, (Enhancer, HTDemucs)):
            raise InputError(f"{path} is neither an enhancer nor an HT Demucs")
        self.network = network
        self.rate = network.config.sample_rate
        if isinstance(network, Enhancer):
            config = network.config
            self.channels, self.sources = 1, ["speech"]
            self.latency = config.hop + config.delay
        else:
            layout = network.config
            segment = layout.segment_samples
            self.channels, self.sources, self.latency = layout.audio_channels, list(layout.sources), segment
            self._manifest = song_manifest(self.rate, self.sources, self.channels, segment)

    def run(self, audio: np.ndarray) -> np.ndarray:
        import torch

        from edge.models.htdemucs import HTDemucs, as_graph

        if isinstance(self.network, HTDemucs):
            return separate(self._manifest, as_graph(self.network), audio)
        with torch.inference_mode():
            return self.network.enhance(torch.from_numpy(audio))[None].numpy()


def song_manifest(rate: int, sources: list[str], channels: int, segment: int) -> Manifest:
    """What the runtime needs to know of a separator that is not exported; overlap of a quarter, as exports have."""
    none = BeforeAfter(0, 0)
    return Manifest(
        name="checkpoint",
        task="separate",
        sources=sources,
        sample_rate=rate,
        channels=channels,
        segment=segment,
        hop=int(0.75 * segment),
        latency_samples=segment,
        inputs=[TensorSpec("mix", (1, channels, segment))],
        outputs=[TensorSpec("stems", (1, len(sources), channels, segment))],
        precision="fp32",
        graphs={"onnx": GraphRecord("none")},
        compression=Compression(0.0, none, none),
        quality=Quality("SDR", "none", "dB"),
        golden=Golden(GoldenInput("none", (channels, 1)), {"onnx": GoldenOutput("none", (1, channels, 1), 0.0)}),
        weights_license="none",
        training_data="none",
    )


def separate(manifest: Manifest, graph, mix: np.ndarray) -> np.ndarray:
    """Stems float32 (sources, channels, n) of a whole song (channels, n), normalised by its statistics."""
    statistics = Statistics()
    statistics.update(mix.T)
    return _whole(Separator(manifest, graph, statistics.mean, statistics.std), mix)


def _whole(stream: EnhancerStream | Separator, audio: np.ndarray) -> np.ndarray:
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)
