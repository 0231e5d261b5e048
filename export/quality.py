"""What compression cost in quality, on recordings held out from training and int8 calibration."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from edge import samples
from edge.bundle import Quality
from edge.export.recordings import speech
from edge.interface import Interface
from edge.metrics import sdr, si_sdr
from edge.models.architectures import architecture_of
from edge.runtime.graphs import Graph
from edge.runtime.streams import EnhancerStream, Separator, Statistics
from edge.zoo import Model


def measure_quality(model: Model, interface: Interface, runs: Mapping[str, Graph]) -> Quality:
    """The sample recording unprocessed, through the unpruned torch network, and through each exported graph.

    `after` is the first graph's figure, `after_FORMAT` each one's. Values are null for a separator with other sources
    than the sample song's, told by name: "other" is all that is not named.
    """
    process = architecture_of(model.network).process
    systems = {"before": lambda audio: process(model.network, audio)}
    systems |= {f"after_{backend}": partial(stream_recording, interface, run) for backend, run in runs.items()}
    if interface.task == "enhance":
        noisy, clean = speech(interface.sample_rate)
        values: dict[str, float | None] = {"input": si_sdr(clean, noisy)}
        values |= {name: si_sdr(clean, system(noisy)) for name, system in systems.items()}
        quality = Quality("SI-SDR", "held-out speaker in held-out noise, 12 s", "dB", values)
    else:
        values = dict.fromkeys(("input", *systems))
        if set(interface.sources) == set(samples.STEMS):
            mix, stems = samples.song(interface.sample_rate, interface.channels)
            stems = stems[[samples.STEMS.index(source) for source in interface.sources]]
            values["input"] = _mean_sdr(stems, [mix] * len(stems))
            values |= {name: _mean_sdr(stems, system(mix)) for name, system in systems.items()}
        quality = Quality("SDR, mean of the sources", "held-out rendered song, 12 s", "dB", values)
    quality.values["after"] = quality.values[f"after_{next(iter(runs))}"]
    return quality


def stream_recording(interface: Interface, graph: Graph, audio: np.ndarray) -> np.ndarray:
    """A whole recording through a graph."""
    if interface.task == "enhance":
        stream: EnhancerStream | Separator = EnhancerStream(interface, graph)
    else:
        statistics = Statistics()
        statistics.update(audio.T)
        stream = Separator(interface, graph, statistics.mean, statistics.std)
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)


def _mean_sdr(stems: np.ndarray, estimates: Sequence[np.ndarray] | np.ndarray) -> float:
    return float(np.mean([sdr(stem, estimate) for stem, estimate in zip(stems, estimates, strict=True)]))
