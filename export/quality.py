"""What compression cost in quality, on recordings that nothing was trained or calibrated on."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from edge import samples
from edge.bundle import Manifest, Quality
from edge.metrics import sdr, si_sdr
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import as_graph
from edge.runtime.graphs import Graph
from edge.runtime.streams import EnhancerStream, Separator, Statistics
from edge.zoo import Model


def song_statistics(mix: np.ndarray) -> tuple[float, float]:
    """Mean of the mono mix of (2, n), and its deviation plus 1e-8: the whole-track normalisation of demucs."""
    statistics = Statistics()
    statistics.update(mix.T)
    return statistics.mean, statistics.std + 1e-8


def measure_quality(model: Model, manifest: Manifest, runs: Mapping[str, Graph]) -> Quality:
    """The sample recording unprocessed, through the unpruned torch network, and through each exported graph.

    `after` is the first graph's figure, `after_FORMAT` each one's. Values are null for a separator with other sources
    than the sample song's.
    """
    if manifest.task == "enhance":
        noisy, clean = samples.speech()
        with torch.inference_mode():
            assert isinstance(model.network, Enhancer)
            before = model.network.enhance(torch.from_numpy(noisy[None]))[0].numpy()
        values: dict[str, float | None] = {"input": si_sdr(clean, noisy), "before": si_sdr(clean, before)}
        for target, run in runs.items():
            values[f"after_{target}"] = si_sdr(clean, _stream(EnhancerStream(manifest, run), noisy))
        quality = Quality("SI-SDR", "held-out speaker in held-out noise, 12 s", "dB", values)
    else:
        values = {key: None for key in ("input", "before", *(f"after_{target}" for target in runs))}
        if tuple(manifest.sources) == samples.STEMS:
            mix, stems = samples.song()
            values["input"] = _mean_sdr(stems, [mix] * len(stems))
            for key, run in (("before", as_graph(model.network)), *((f"after_{t}", r) for t, r in runs.items())):
                mean, scale = song_statistics(mix)
                values[key] = _mean_sdr(stems, _stream(Separator(manifest, run, mean, scale - 1e-8), mix))
        quality = Quality("SDR, mean of the sources", "held-out rendered song, 12 s", "dB", values)
    quality.values["after"] = quality.values[f"after_{next(iter(runs))}"]
    return quality


def _stream(stream: EnhancerStream | Separator, audio: np.ndarray) -> np.ndarray:
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)


def _mean_sdr(stems: np.ndarray, estimates: Sequence[np.ndarray] | np.ndarray) -> float:
    return float(np.mean([sdr(stem, estimate) for stem, estimate in zip(stems, estimates, strict=True)]))
