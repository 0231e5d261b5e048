"""A model on audio of any rate and channel count: a session at that rate, or one for each channel, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge.audio import AudioReader, Resampler
from edge.bundle import Bundle
from edge.errors import EdgeError, InputError
from edge.native.session import NativeGraph
from edge.runtime.converted import at_rate
from edge.runtime.graphs import LoadedGraph
from edge.runtime.session import Session, new_session
from edge.runtime.streams import Statistics


class Chain:
    """Blocks (n, channels) in; blocks (outputs, m, channels) out, at the sessions' rate.

    Concatenated, each output has exactly the length of the input and is aligned with it. One output and each channel
    on its own for an enhancer; one output a source for a separator, which takes the model's channels: mono is
    repeated, channels too many are dropped, as the demucs command does.
    """

    def __init__(self, sessions: Sequence[Session], channels: int):
        """One session that takes `channels`, or a session of one channel for each."""
        self._sessions, self.channels = sessions, channels
        self.frames = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        """float32 (n, any channels), n >= 0, to what is ready, float32 (outputs, m, channels)."""
        self.frames += len(block)
        audio = mapped(block, self.channels).T
        if self._sessions[0].shape_in:
            return _blocks(self._sessions[0].process(audio))
        return _blocks(np.stack([session.process(one) for session, one in zip(self._sessions, audio, strict=True)]))

    def flush(self) -> np.ndarray:
        """The rest."""
        results = [session.flush() for session in self._sessions]
        return _blocks(results[0] if self._sessions[0].shape_in else np.stack(results))

    @property
    def faults(self) -> tuple[int, int]:
        """Input samples that were no numbers, and results that were none."""
        counts = [session.counts for session in self._sessions]
        return sum(c.bad_inputs for c in counts), sum(c.bad_outputs for c in counts)


def _blocks(result: np.ndarray) -> np.ndarray:
    """(channels, m) or (outputs, channels, m) to (outputs, m, channels)."""
    return np.swapaxes(result if result.ndim == 3 else result[None], 1, 2)


def new_chain(
    bundle: Bundle,
    graph: LoadedGraph | NativeGraph,
    rate: int,
    channels: int,
    latency: float | None = None,
    statistics: Statistics | None = None,
    consistent: bool = False,
    name: object = "the input",
) -> Chain:
    """A chain for audio of `rate` Hz and `channels`; see `new_session` for the rest. InputError names `name`."""
    manifest = bundle.manifest
    if manifest.task == "enhance":
        return Chain([at_rate(new_session(bundle, graph, latency), rate) for _ in range(channels)], channels)
    if 1 < channels < manifest.channels:
        raise InputError(f"{name}: {channels} channels, the model needs {manifest.channels}")
    session = new_session(bundle, graph, latency, statistics, consistent)
    return Chain([at_rate(session, rate)], manifest.channels)


def statistics_of(
    reader: AudioReader, rate: int, channels: int, progress: Callable[[int], None] = lambda frames: None
) -> Statistics:
    """A first pass over a recording: its statistics at the model's rate and channels; `progress` gets the frames."""
    statistics = Statistics()
    resampler = Resampler(reader.sample_rate, rate, channels)
    for block in reader.blocks():
        statistics.update(resampler.process(mapped(block, channels)))
        progress(len(block))
    statistics.update(resampler.flush())
    return statistics


def mapped(block: np.ndarray, channels: int) -> np.ndarray:
    """(n, any) to (n, channels): mono is repeated, mixed for one channel; beyond two, channels too many are dropped."""
    if channels == 1:
        return block.mean(axis=1, keepdims=True)
    return np.repeat(block, channels, axis=1) if block.shape[1] == 1 else block[:, :channels]


def refuse_bad_results(chain: Chain, name: object) -> None:
    """EdgeError where the model gave NaN or infinite samples, which the session made silent."""
    if chain.faults[1]:
        raise EdgeError(f"the model gave NaN or infinite samples for {name}; try --backend or fp32")
