"""The thread that runs the model behind a live engine, and its helpers: a file as the source, a recording."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from edge.audio import AudioReader, AudioWriter, Resampler
from edge.runtime.live import LiveEngine
from edge.runtime.ring import Ring

AHEAD_SECONDS = 3.0  # of results that a file's playback keeps ready
PRIMED_SECONDS = 0.5


class Worker:
    """Runs an engine's model in a thread until `stop`; `failed` holds what it raised.

    A thread and no child process: both runtimes release the interpreter's lock while they compute.
    """

    def __init__(self, engine: LiveEngine, source: FileSource | None = None):
        self._engine, self._source = engine, source
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="inference")
        self.failed: BaseException | None = None
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended: after the inference under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        engine, source = self._engine, self._source
        try:
            while not self._stopping.is_set():
                fed = source is not None and source.feed()
                if not engine.work() and not fed:
                    engine.wait(0.05)
        except BaseException as error:
            self.failed = error


class FileSource:
    """Feeds a file to an engine that captures nothing, some seconds ahead of what is played."""

    def __init__(self, engine: LiveEngine, reader: AudioReader):
        self._engine = engine
        self._blocks = reader.blocks(engine.block)
        self._resampler = Resampler(reader.sample_rate, engine.rate, min(reader.channels, engine.channels))
        model = engine.session.latency_samples / engine.session.sample_rate
        self._ahead = round((model + AHEAD_SECONDS) * engine.rate)
        self._ended = False

    def feed(self) -> bool:
        """Give the next block where one is wanted; whether it did."""
        engine = self._engine
        if self._ended or engine.captured.end - engine.position > self._ahead:
            return False
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
            self._write(self._resampler.flush())
            while engine.work():
                pass
            engine.finish()
            return True
        self._write(self._resampler.process(_mixed(block, engine.channels)))
        if not engine.started and engine.worked > PRIMED_SECONDS * engine.rate:
            engine.start()
        return True

    def _write(self, block: np.ndarray) -> None:
        for start in range(0, len(block), self._engine.block):
            self._engine.captured.write(block[start : start + self._engine.block])


def _mixed(block: np.ndarray, channels: int) -> np.ndarray:
    """(n, any) to at most `channels`: one is the mean of all, more are the first."""
    return block.mean(axis=1, keepdims=True) if channels == 1 else block[:, :channels]


class Recorder:
    """Writes what an engine captured and played, aligned with each other; `step` now and then."""

    def __init__(self, engine: LiveEngine, captured: Path, played: Path):
        self._tapes = [
            _Tape(engine.captured, AudioWriter(captured, engine.rate, engine.channels)),
            _Tape(engine.played, AudioWriter(played, engine.rate, engine.outputs)),
        ]

    def step(self, until: int | None = None) -> None:
        """Write what is there, before the position `until`."""
        for tape in self._tapes:
            tape.step(until)

    def lose(self, position: int, frames: int) -> None:
        """Silence for what the device lost before `position`, which must not be written yet."""
        for tape in self._tapes:
            tape.gaps.append((position, frames))

    def restart(self) -> None:
        """Go on at position 0, in the same files: after what came before is written, the engine restarts."""
        self.step()
        for tape in self._tapes:
            tape.position = 0
            tape.gaps.clear()  # those behind what was played: `skip` makes both alike

    @property
    def written(self) -> int:
        """Frames so far, silence too."""
        return max(tape.written for tape in self._tapes)

    def skip(self, frames: int) -> None:
        """Silence for what no device captured or played, before anything more is written; both go on alike."""
        end = self.written + frames
        for tape in self._tapes:
            tape.lost += frames
            tape.silence(end - tape.written)

    def close(self) -> None:
        self.step()
        for tape in self._tapes:
            tape.writer.close()

    @property
    def lost(self) -> int:
        """Frames that were gone before they could be written; zeros stand for them."""
        return sum(tape.lost for tape in self._tapes)


class _Tape:
    def __init__(self, ring: Ring, writer: AudioWriter):
        self._ring, self.writer = ring, writer
        self.position = self.written = self.lost = 0
        self.gaps: list[tuple[int, int]] = []  # position, frames of silence before it
        self._block = np.zeros((min(4096, ring.frames // 4), ring.channels), np.float32)

    def silence(self, frames: int) -> None:
        self._block[:] = 0
        for start in range(0, frames, len(self._block)):
            self._write(min(len(self._block), frames - start))

    def step(self, until: int | None) -> None:
        end = self._ring.end if until is None else min(until, self._ring.end)
        while self.gaps and self.gaps[0][0] <= end:
            position, frames = self.gaps.pop(0)
            self._copy(position)
            self.silence(frames)
        self._copy(end)

    def _copy(self, end: int) -> None:
        while (ready := min(end - self.position, len(self._block))) > 0:
            count = self._ring.read(self.position, self._block[:ready], spare=len(self._block))
            if count == 0:
                self._block[:ready] = 0
                self.lost += ready - self._skipped(self.position + ready)
            self._write(ready)
            self.position += ready

    def _skipped(self, end: int) -> int:
        """Frames before `end` that were never played."""
        start, stop = self._ring.skipped
        return max(0, min(stop, end) - max(start, self.position))

    def _write(self, frames: int) -> None:
        self.writer.write(self._block[:frames])
        self.written += frames
