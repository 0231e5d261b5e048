"""Pipecat: a filter of a transport's incoming audio."""

from __future__ import annotations

import asyncio

import numpy as np
from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import FilterControlFrame, FilterEnableFrame, FilterUpdateSettingsFrame

from edge.calls.stream import CallModel, CallStream


class EnhancingFilter(BaseAudioFilter):
    """`TransportParams(audio_in_filter=EnhancingFilter(model))`: what the pipeline hears is enhanced.

    FilterEnableFrame switches it, FilterUpdateSettingsFrame({"limit": dB or None}) bounds it; see CallStream.
    `channels` as the transport's `audio_in_channels`.
    """

    def __init__(self, model: CallModel, channels: int = 1, limit: float | None = None):
        self._model, self._channels = model, channels
        self._enabled, self._limit = True, limit
        self._stream: CallStream | None = None

    @property
    def latency(self) -> float | None:
        """Seconds; None before the transport has started."""
        return None if self._stream is None else self._stream.latency

    async def start(self, sample_rate: int) -> None:
        """The transport's rate, any."""
        self._stream = CallStream(self._model, sample_rate, self._channels, self._limit)
        self._rest = b""

    async def stop(self) -> None:
        self._stream = None

    async def process_frame(self, frame: FilterControlFrame) -> None:
        if isinstance(frame, FilterEnableFrame):
            self._enabled = frame.enable
        elif isinstance(frame, FilterUpdateSettingsFrame) and "limit" in frame.settings:
            self._limit = frame.settings["limit"]

    async def filter(self, audio: bytes) -> bytes:
        """16-bit interleaved audio, cut anywhere, to as many whole samples."""
        stream = self._stream
        if stream is None:
            return audio
        stream.enabled, stream.limit = self._enabled, self._limit
        data = self._rest + audio
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").reshape(-1, self._channels)
        out = await asyncio.get_running_loop().run_in_executor(self._model.pool, stream.process_pcm, samples)
        return out.astype("<i2").tobytes()
