"""A model on audio of any rate and channel count: a session at that rate, or one for each channel, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.audio import AudioReader, Resampler
from edge.bundle import Bundle
from edge.errors import EdgeError, InputError
from edge.native.session import NativeGraph
from edge.runtime.channels import mapped
from edge.runtime.excerpt import Excerpt
from edge.runtime.graphs import LoadedGraph
from edge.runtime.session import Session, new_session
from edge.runtime.shaping import Shaping, shaped
from edge.runtime.streams import Statistics


@dataclass(frozen=True)
class ChainOptions:
    """latency, consistent: as in `new_session`. stereo: of a mono recording, stems in the model's channels."""

    latency: float | None = None
    consistent: bool = False
    stereo: bool = False
    shaping: Shaping = field(default_factory=Shaping)


class Chain:
    """Blocks (n, channels) in; blocks (outputs, m, channels) out, at the sessions' rate.

    Concatenated, each output has exactly the length of the input and is aligned with it. One output and each channel
    on its own for an enhancer; one output a source for a separator (see `edge.runtime.channels.mapped`).
    """

    def __init__(self, sessions: Sequence[Session], taken: int, channels: int):
        """One session that takes `taken` channels, or one for each; `channels` come out, 1 as the mean of them."""
        self._sessions, self._taken, self.channels = sessions, taken, channels
        self.frames = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        """float32 (n, any channels), n >= 0, to what is ready, float32 (outputs, m, channels)."""
        self.frames += len(block)
        audio = mapped(block, self._taken).T
        parts = zip(self._sessions, self._split(audio), strict=True)
        return self._blocks([session.process(part) for session, part in parts])

    def flush(self) -> np.ndarray:
        """The rest."""
        return self._blocks([session.flush() for session in self._sessions])

    @property
    def faults(self) -> tuple[int, int]:
        """Input samples that were no numbers, and results that were none."""
        counts = [session.counts for session in self._sessions]
        return sum(c.bad_inputs for c in counts), sum(c.bad_outputs for c in counts)

    def _split(self, audio: np.ndarray) -> Sequence[np.ndarray]:
        """(channels, n) to what each session takes."""
        if len(self._sessions) == 1:
            return [audio if self._sessions[0].shape_in else audio[0]]
        return [one[None] if self._sessions[0].shape_in else one for one in audio]

    def _blocks(self, results: list[np.ndarray]) -> np.ndarray:
        """What the sessions gave, (m,) or (outputs, some channels, m), as (outputs, m, channels)."""
        arranged = [result if result.ndim == 3 else result[None, None] for result in results]
        out = np.swapaxes(np.concatenate(arranged, axis=1), 1, 2)
        return out if out.shape[2] == self.channels else out.mean(axis=2, keepdims=True)


def new_chain(
    bundle: Bundle,
    graph: LoadedGraph | NativeGraph,
    rate: int,
    channels: int,
    options: ChainOptions | None = None,
    statistics: Statistics | None = None,
) -> Chain:
    """A chain for audio of `rate` Hz and `channels`; `statistics` as in `new_session`.

    Raises InputError for a latency or a limit that the task or the model does not have.
    """
    options = options or ChainOptions()
    manifest = bundle.manifest
    enhances = manifest.task == "enhance"
    if not enhances and options.shaping.atten_limit is not None:
        raise InputError("--atten-limit is for enhancers; a separator's stems are mixed by the listener")
    alone = enhances or manifest.channels == 1  # each channel on its own
    taken = channels if alone else manifest.channels
    sessions = [
        shaped(new_session(bundle, graph, options.latency, statistics, options.consistent), rate, options.shaping)
        for _ in range(taken if alone else 1)
    ]
    return Chain(sessions, taken, channels if alone or (channels == 1 and not options.stereo) else taken)


def statistics_of(
    reader: AudioReader | Excerpt,
    rate: int,
    channels: int,
    progress: Callable[[int], None] = lambda frames: None,
) -> Statistics:
    """A first pass over a recording: its statistics at the model's rate and channels; `progress` gets the frames."""
    statistics = Statistics()
    resampler = Resampler(reader.sample_rate, rate, channels)
    for block in reader.blocks():
        statistics.update(resampler.process(mapped(block, channels)))
        progress(len(block))
    statistics.update(resampler.flush())
    return statistics


def refuse_bad_results(chain: Chain, name: object) -> None:
    """EdgeError where the model gave NaN or infinite samples, which the session made silent."""
    if chain.faults[1]:
        raise EdgeError(f"the model gave NaN or infinite samples for {name}; try --backend or fp32")
