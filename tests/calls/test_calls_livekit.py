"""LiveKit for real: its audio frames through the processor, as rtc.AudioStream and LiveKit Agents call it."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

rtc = pytest.importorskip("livekit.rtc", reason="needs the livekit extra")

from edge import samples  # noqa: E402
from edge.calls.livekit_processor import EnhancingProcessor  # noqa: E402
from edge.calls.stream import CallModel, CallStream  # noqa: E402


@pytest.fixture(scope="module")
def model(enhancer_path) -> CallModel:
    return CallModel(enhancer_path)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (24_000, 2), (16_000, 1)])
def test_frames_come_out_enhanced(model, rate, channels):
    audio = (np.clip(soxr.resample(samples.speech()[0][:32_000], 16_000, rate), -1, 1) * 32767).astype(np.int16)
    audio = np.repeat(audio[:, None], channels, axis=1)
    processor = EnhancingProcessor(model)
    assert isinstance(processor, rtc.FrameProcessor) and processor.enabled
    out, size = [], rate // 100
    for at in range(0, len(audio) - size, size):
        frame = rtc.AudioFrame(audio[at : at + size].tobytes(), rate, channels, size, userdata={"n": at})
        enhanced = processor._process(frame)
        assert (enhanced.sample_rate, enhanced.num_channels, enhanced.samples_per_channel) == (rate, channels, size)
        assert enhanced.userdata == {"n": at}
        out.append(np.frombuffer(enhanced.data, np.int16).reshape(-1, channels))
    found = np.concatenate(out)
    expected = CallStream(model, rate, channels).process_pcm(audio)[: len(found)]
    np.testing.assert_allclose(found, expected, atol=1)
    processor.enabled = False
    late = round(processor.latency * rate)
    frame = rtc.AudioFrame(audio[:rate].tobytes(), rate, channels, rate)
    dry = np.frombuffer(processor._process(frame).data, np.int16).reshape(-1, channels)
    np.testing.assert_array_equal(dry[late + size :], audio[size : rate - late])
    processor._close()


def test_livekit_agents_take_it(model):
    room_io = pytest.importorskip("livekit.agents.voice.room_io", reason="needs livekit-agents")
    options = room_io.AudioInputOptions(noise_cancellation=EnhancingProcessor(model))
    assert isinstance(options.noise_cancellation, rtc.FrameProcessor)
