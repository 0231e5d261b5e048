"""aiortc for real: a peer connection over this machine's network, Opus and jitter buffer and all."""

from __future__ import annotations

import asyncio
import fractions
import time

import numpy as np
import pytest
import soxr

pytest.importorskip("aiortc", reason="needs the aiortc extra")
import av
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from edge import samples
from edge.calls.aiortc_track import EnhancedTrack
from edge.calls.stream import CallModel

RATE, FRAME = 48_000, 960


class Playing(MediaStreamTrack):
    """Plays int16 mono in real time, or as fast as it is asked."""

    kind = "audio"

    def __init__(self, audio: np.ndarray, paced: bool = True):
        super().__init__()
        self._audio, self._at, self._paced, self._start = audio, 0, paced, time.monotonic()

    async def recv(self) -> av.AudioFrame:
        if self._at >= len(self._audio):
            self.stop()
            raise MediaStreamError
        if self._paced:
            await asyncio.sleep(max(0, self._start + self._at / RATE - time.monotonic()))
        block = self._audio[self._at : self._at + FRAME]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._at, fractions.Fraction(1, RATE)
        self._at += len(block)
        return frame


@pytest.fixture(scope="module")
def model(enhancer_path) -> CallModel:
    return CallModel(enhancer_path)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    audio = soxr.resample(samples.speech()[0][:64_000], 16_000, RATE)
    return (np.clip(audio, -1, 1) * 32767).astype(np.int16)[: 180 * FRAME]


def mono(frame: av.AudioFrame) -> np.ndarray:
    return frame.to_ndarray().reshape(-1, frame.layout.nb_channels)[:, 0].astype(np.float64)


def lag_and_gain(source: np.ndarray, heard: np.ndarray) -> tuple[int, float]:
    size = 1 << (len(source) + len(heard)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size)), size)
    lag = int(np.argmax(correlation[: len(source)]))
    part = min(len(source), len(heard) - lag)
    return lag, float(source[:part] @ heard[lag : lag + part] / (source[:part] @ source[:part]))


async def call(track: MediaStreamTrack, received) -> None:
    """Send `track` through two peers; `received(track)` is awaited at the other end."""
    sender, receiver = RTCPeerConnection(), RTCPeerConnection()
    there: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
    receiver.on("track", there.set_result)
    sender.addTrack(track)
    try:
        await sender.setLocalDescription(await sender.createOffer())
        await receiver.setRemoteDescription(sender.localDescription)
        await receiver.setLocalDescription(await receiver.createAnswer())
        await sender.setRemoteDescription(receiver.localDescription)
        await received(await asyncio.wait_for(there, 30))
    finally:
        await asyncio.gather(sender.close(), receiver.close())


def test_speech_comes_out_of_a_call_enhanced(model, speech):
    """Both versions of the same received frames: what the adapter adds is its latency, and nothing else."""
    plain, enhanced = [], []
    found = {}

    class Tee(MediaStreamTrack):
        kind = "audio"

        def __init__(self, track: MediaStreamTrack):
            super().__init__()
            self._track = track

        async def recv(self) -> av.AudioFrame:
            frame = await self._track.recv()
            plain.append(mono(frame))
            return frame

    async def received(track: MediaStreamTrack) -> None:
        out = EnhancedTrack(Tee(track), model)
        for _ in range(150):
            frame = await asyncio.wait_for(out.recv(), 30)
            assert frame.sample_rate == RATE and frame.samples == FRAME
            enhanced.append(mono(frame))
        found["latency"] = out.latency
        out.stop()

    asyncio.run(call(Playing(speech), received))
    source, heard = np.concatenate(plain), np.concatenate(enhanced)
    assert np.abs(source).max() > 3000  # the call works
    lag, gain = lag_and_gain(source, heard)
    assert abs(gain - 0.5) < 0.03 and abs(lag / RATE - found["latency"]) < 0.001
    # the tiny model's own latency is two hops of 20 ms; the adapter adds a few ms
    model_latency = model.manifest.latency_samples / model.manifest.sample_rate
    assert found["latency"] < model_latency + 0.012


def test_eight_calls_at_once(model, speech):
    counts = []

    async def one() -> None:
        async def received(track: MediaStreamTrack) -> None:
            out = EnhancedTrack(track, model)
            frames = [mono(await asyncio.wait_for(out.recv(), 30)) for _ in range(60)]
            counts.append(sum(map(len, frames)))
            assert np.abs(np.concatenate(frames)).max() > 1000
            out.stop()

        await call(Playing(speech), received)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(8)))

    asyncio.run(all_of_them())
    assert counts == [60 * FRAME] * 8


def test_times_formats_and_the_end(model, speech):
    async def run() -> None:
        source = Playing(speech[: 20 * FRAME], paced=False)
        out = EnhancedTrack(source, model)
        for n in range(20):
            frame = await out.recv()
            assert frame.pts == n * FRAME and frame.time_base == fractions.Fraction(1, RATE)
        with pytest.raises(MediaStreamError):
            await out.recv()
        assert out.readyState == "ended" and source.readyState == "ended"

        class Planar(MediaStreamTrack):
            kind = "audio"

            async def recv(self) -> av.AudioFrame:
                frame = av.AudioFrame.from_ndarray(np.full((2, 441), 0.25, np.float32), "fltp", "stereo")
                frame.sample_rate, frame.pts = 44_100, 0
                return frame

        out = EnhancedTrack(Planar(), model)
        out.enabled = False
        frames = [await out.recv() for _ in range(40)]
        assert frames[-1].layout.nb_channels == 2 and frames[-1].samples == 441
        assert (np.abs(frames[-1].to_ndarray() - 8192) <= 1).all()

    asyncio.run(run())
