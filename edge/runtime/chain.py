"""A model on audio of any rate and channel count: conversion to the model's rate and back around its sessions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.audio import Resampler
from edge.bundle import Bundle
from edge.errors import EdgeError, InputError
from edge.runtime.graphs import LoadedGraph
from edge.runtime.session import Session, new_session
from edge.runtime.streams import Statistics


class Chain:
    """Blocks (n, channels) at `rate` Hz in; blocks (outputs, m, channels) at the same rate out.

    Concatenated, each output has exactly the length of the input and is aligned with it. One output and each channel
    on its own for an enhancer; one output a source for a separator, which takes the model's channels: mono is
    repeated, channels too many are dropped, as the demucs command does.
    """

    def __init__(self, sessions: Sequence[Session], rate: int, channels: int, sources: int | None = None):
        """`sources`: of a separator; None: an enhancer's session for each channel."""
        self._sessions, self._separates, self._sources = sessions, sources is not None, sources or 1
        self.channels = channels
        model_rate = sessions[0].sample_rate
        self._down = Resampler(rate, model_rate, channels)
        self._ups = [Resampler(model_rate, rate, channels) for _ in range(self._sources)]
        self.frames = self._given = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        """float32 (n, any channels), n >= 0, to what is ready, float32 (outputs, m, channels)."""
        self.frames += len(block)
        return self._out(self._run(self._down.process(mapped(block, self.channels))))

    def flush(self) -> np.ndarray:
        """The rest. The converters are spent afterwards."""
        pieces = [
            self._out(self._run(self._down.flush())),
            self._out(self._arranged([session.flush() for session in self._sessions])),
            self._limited(np.stack([up.flush() for up in self._ups])),
        ]
        # resampling there and back may round by a few samples
        pieces.append(np.zeros((self._sources, self.frames - self._given, self.channels), np.float32))
        self._given = self.frames
        return np.concatenate(pieces, axis=1)

    @property
    def faults(self) -> tuple[int, int]:
        """Input samples that were no numbers, and results that were none."""
        return (
            sum(getattr(session, "bad_inputs", 0) for session in self._sessions),
            sum(getattr(session, "bad_outputs", 0) for session in self._sessions),
        )

    def _run(self, audio: np.ndarray) -> np.ndarray:
        if self._separates:
            return self._arranged([self._sessions[0].process(audio.T)])
        return self._arranged([session.process(audio[:, c]) for c, session in enumerate(self._sessions)])

    def _arranged(self, results: list[np.ndarray]) -> np.ndarray:
        """What the sessions gave, as (outputs, m, channels)."""
        if self._separates:
            return results[0].transpose(0, 2, 1)
        return np.stack(results, axis=1)[None]

    def _out(self, audio: np.ndarray) -> np.ndarray:
        return self._limited(np.stack([up.process(one) for up, one in zip(self._ups, audio, strict=True)]))

    def _limited(self, out: np.ndarray) -> np.ndarray:
        # only the end can be too long: no output precedes the input that it is made of
        out = out[:, : max(0, self.frames - self._given)]
        self._given += out.shape[1]
        return out


def new_chain(
    bundle: Bundle,
    graph: LoadedGraph,
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
        return Chain([new_session(bundle, graph, latency) for _ in range(channels)], rate, channels)
    if 1 < channels < manifest.channels:
        raise InputError(f"{name}: {channels} channels, the model needs {manifest.channels}")
    session = new_session(bundle, graph, latency, statistics, consistent)
    return Chain([session], rate, manifest.channels, len(manifest.sources))


def mapped(block: np.ndarray, channels: int) -> np.ndarray:
    """(n, any) to (n, channels): mono is repeated, channels too many are dropped."""
    return np.repeat(block, channels, axis=1) if block.shape[1] == 1 else block[:, :channels]


def refuse_bad_results(chain: Chain, name: object) -> None:
    """EdgeError where the model gave NaN or infinite samples, which the session made silent."""
    if chain.faults[1]:
        raise EdgeError(f"the model gave NaN or infinite samples for {name}; try --backend or fp32")
