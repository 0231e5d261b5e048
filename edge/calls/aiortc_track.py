"""aiortc: a track that enhances another one."""

from __future__ import annotations

import asyncio

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from edge.calls.stream import CallModel, CallStream


class EnhancedTrack(MediaStreamTrack):
    """An audio MediaStreamTrack whose frames are those of `track`, enhanced, with the same times.

    The speech lies `latency` seconds later in them. It ends with `track`, and ends it. Set `enabled` and `limit` at
    any time; see CallStream.
    """

    kind = "audio"

    def __init__(self, track: MediaStreamTrack, model: CallModel, limit: float | None = None):
        super().__init__()
        self.track, self.enabled, self.limit = track, True, limit
        self._model = model
        self._stream: CallStream | None = None
        self._to_s16: av.AudioResampler | None = None

    @property
    def latency(self) -> float | None:
        """Seconds; None before the first frame."""
        return None if self._stream is None else self._stream.latency

    async def recv(self) -> av.AudioFrame:
        """The next frame; raises MediaStreamError at the end."""
        if self.readyState != "live":
            raise MediaStreamError
        try:
            frame = await self.track.recv()
        except MediaStreamError:
            self.stop()
            raise
        return await asyncio.get_running_loop().run_in_executor(self._model.pool, self._enhanced, frame)

    def stop(self) -> None:
        super().stop()
        self.track.stop()

    def _enhanced(self, frame: av.AudioFrame) -> av.AudioFrame:
        channels, rate = frame.layout.nb_channels, frame.sample_rate
        samples = self._samples(frame).reshape(-1, channels)
        if self._stream is None or (self._stream.rate, self._stream.channels) != (rate, channels):
            self._stream = CallStream(self._model, rate, channels, self.limit)
        self._stream.enabled, self._stream.limit = self.enabled, self.limit
        out = av.AudioFrame.from_ndarray(self._stream.process_pcm(samples).reshape(1, -1), "s16", frame.layout.name)
        out.sample_rate = rate
        out.pts = frame.pts
        if frame.time_base is not None:
            out.time_base = frame.time_base
        return out

    def _samples(self, frame: av.AudioFrame) -> np.ndarray:
        """Interleaved int16."""
        if frame.format.name == "s16":
            return frame.to_ndarray()
        if self._to_s16 is None:
            self._to_s16 = av.AudioResampler("s16", frame.layout.name, frame.sample_rate)
        return np.concatenate([part.to_ndarray() for part in self._to_s16.resample(frame)], axis=1)
