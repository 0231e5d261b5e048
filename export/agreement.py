"""What compression changed on a user's own recording: the compressed stems against the unpruned network's.

Nobody has the true stems of a song; how far the compressed network's are from those of the whole one can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edge.audio import AudioReader, Resampler
from edge.interface import Interface
from edge.metrics import si_sdr
from edge.models.architectures import architecture_of
from edge.runtime.channels import mapped

MAX_SECONDS = 60.0
_SILENT_DB = -60.0  # of the loudest stem: a source that the recording has not


def read_recording(path: Path, interface: Interface) -> np.ndarray:
    """At most a minute of a file from its start, at the model's rate: (channels, n), or (n,) for an enhancer.

    Raises InputError as AudioReader does.
    """
    with AudioReader(path) as reader:
        resampler = Resampler(reader.sample_rate, interface.sample_rate, interface.channels)
        left, pieces = int(MAX_SECONDS * reader.sample_rate), []
        for block in reader.blocks():
            pieces.append(resampler.process(mapped(block[:left], interface.channels)))
            left -= len(block)
            if left <= 0:
                break
        audio = np.concatenate([*pieces, resampler.flush()]).T
    return audio[0] if interface.task == "enhance" else np.ascontiguousarray(audio)


def measure_agreement(
    path: Path, network: nn.Module, interface: Interface, runs: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> dict[str, Any]:
    """SI-SDR in dB by graph and source, against what the unpruned `network` makes of the same recording.

    runs: each graph as a function of a whole recording, as `read_recording` gives it. A source that the recording has
    not (60 dB below the loudest stem) has null.
    """
    audio = read_recording(path, interface)
    expected = np.atleast_3d(architecture_of(network).process(network, audio).T).T  # (sources, channels, n)
    level = 10 * np.log10(np.mean(expected**2, axis=(1, 2)) + 1e-20)
    values = {}
    for graph, run in runs.items():
        got = run(audio).reshape(expected.shape)
        values[graph] = {
            source: si_sdr(expected[i].ravel(), got[i].ravel()) if level[i] > level.max() + _SILENT_DB else None
            for i, source in enumerate(interface.sources)
        }
    return {
        "recording": path.name,
        "seconds": round(audio.shape[-1] / interface.sample_rate, 2),
        "metric": "SI-SDR against the unpruned network",
        "unit": "dB",
        "values": values,
    }
