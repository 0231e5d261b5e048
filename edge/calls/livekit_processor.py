"""LiveKit: a frame processor, which LiveKit Agents and `rtc.AudioStream` take as noise cancellation."""

from __future__ import annotations

import numpy as np
from livekit import rtc

from edge.calls.stream import CallModel, CallStream


class EnhancingProcessor(rtc.FrameProcessor[rtc.AudioFrame]):
    """`AudioInputOptions(noise_cancellation=EnhancingProcessor(model))`, or of `rtc.AudioStream`; one for each track.

    `enabled` is LiveKit's switch; `limit` (dB) may be set at any time; see CallStream.
    """

    def __init__(self, model: CallModel, limit: float | None = None):
        self._model, self._enabled, self.limit = model, True, limit
        self._stream: CallStream | None = None

    @property
    def enabled(self) -> bool:
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = value

    @property
    def latency(self) -> float | None:
        """Seconds; None before the first frame."""
        return None if self._stream is None else self._stream.latency

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        rate, channels = frame.sample_rate, frame.num_channels
        if self._stream is None or (self._stream.rate, self._stream.channels) != (rate, channels):
            self._stream = CallStream(self._model, rate, channels, self.limit)
        self._stream.enabled, self._stream.limit = self._enabled, self.limit
        samples = np.frombuffer(frame.data, np.int16)[: frame.samples_per_channel * channels].reshape(-1, channels)
        out = self._stream.process_pcm(samples)
        return rtc.AudioFrame(out.tobytes(), rate, channels, len(out), userdata=frame.userdata)

    def _close(self) -> None:
        self._stream = None
