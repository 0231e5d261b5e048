"""Pipecat for real: the filter in an input transport of a running pipeline."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import soxr

pytest.importorskip("pipecat", reason="needs the pipecat extra")
from pipecat.frames.frames import EndFrame, FilterEnableFrame, FilterUpdateSettingsFrame, InputAudioRawFrame, StartFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from edge import samples
from edge.bundle import snr_db
from edge.calls.pipecat_filter import EnhancingFilter
from edge.calls.stream import CallModel, CallStream


@pytest.fixture(scope="module")
def model(enhancer_path) -> CallModel:
    return CallModel(enhancer_path)


def speech(rate: int) -> np.ndarray:
    audio = soxr.resample(samples.speech()[0][:32_000], 16_000, rate)
    return (np.clip(audio, -1, 1) * 32767).astype(np.int16)


class Heard(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.audio: list[bytes] = []

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.audio.append(frame.audio)
        await self.push_frame(frame, direction)


class Microphone(BaseInputTransport):
    """Gives its audio when the pipeline starts."""

    def __init__(self, params: TransportParams, audio: np.ndarray, rate: int):
        super().__init__(params)
        self._given, self._rate = audio, rate

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        step = self._rate // 50
        for at in range(0, len(self._given), step):
            data = self._given[at : at + step].tobytes()
            await self.push_audio_frame(InputAudioRawFrame(audio=data, sample_rate=self._rate, num_channels=1))


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_pipeline_hears_enhanced_speech(model, rate):
    audio = speech(rate)
    heard = Heard()

    async def run() -> None:
        params = TransportParams(
            audio_in_enabled=True, audio_in_sample_rate=rate, audio_in_filter=EnhancingFilter(model)
        )
        pipeline = Pipeline([Microphone(params, audio, rate), heard])
        worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=rate))
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)

        async def end() -> None:
            while sum(map(len, heard.audio)) < 2 * len(audio):
                await asyncio.sleep(0.05)
            await worker.queue_frame(EndFrame())

        await asyncio.wait_for(asyncio.gather(runner.run(), end()), 120)

    asyncio.run(run())
    found = np.frombuffer(b"".join(heard.audio), np.int16)
    expected = CallStream(model, rate).process_pcm(audio[:, None])[:, 0]
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1)


def test_bytes_switch_and_bound(model):
    audio = speech(16_000)

    async def run() -> None:
        filter = EnhancingFilter(model)
        assert await filter.filter(b"before") == b"before" and filter.latency is None
        await filter.start(16_000)
        data = audio.tobytes()
        odd = [await filter.filter(data[at : at + 333]) for at in range(0, len(data), 333)]
        assert len(b"".join(odd)) == len(data)
        await filter.process_frame(FilterEnableFrame(enable=False))
        late = round(filter.latency * 16_000)
        out = np.frombuffer(await filter.filter(data), np.int16)
        np.testing.assert_array_equal(out[late + 400 :], audio[400 : len(audio) - late])
        await filter.process_frame(FilterEnableFrame(enable=True))
        await filter.process_frame(FilterUpdateSettingsFrame(settings={"limit": 6.0}))
        out = np.frombuffer(await filter.filter(data), np.int16)
        keep = 10 ** (-6 / 20)
        assert snr_db((keep + (1 - keep) / 2) * audio[400 : len(audio) - late], out[late + 400 :].astype(float)) > 40
        await filter.stop()

    asyncio.run(run())
