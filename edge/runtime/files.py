"""Runs a bundle over an audio file, streaming from disk to disk; the outputs keep the input's rate and length."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.audio import AudioReader, AudioWriter, Resampler, output_format
from edge.bundle import Bundle
from edge.errors import InputError
from edge.outputs import output_file, output_folder
from edge.runtime.graphs import Graph, load_graph
from edge.runtime.streams import EnhancerStream, Separator, Statistics

# Called with a short label of the pass, the frames just done and the frames of the whole pass.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FileReport:
    """What was done: `frames` at `sample_rate` Hz, the seconds that the run took (loading apart), and RTF."""

    input: str
    outputs: list[str]
    backend: str
    threads: int
    sample_rate: int
    channels: int
    frames: int
    load_seconds: float
    run_seconds: float
    rtf: float


def run_file(
    bundle: Bundle, source: Path, target: Path, backend: str, threads: int = 1, progress: Progress | None = None
) -> FileReport:
    """Enhance `source` into the audio file `target`, or separate it into the folder `target`, by the bundle's task.

    Raises InputError for bad input and EdgeError where inference or writing fails; nothing is left behind then.
    """
    report = progress or (lambda label, frames, total: None)
    task = {"enhance": _enhance, "separate": _separate}[bundle.manifest.task]
    with AudioReader(source) as reader:
        if target.exists() and target.samefile(source):
            raise InputError(f"{target} is the input; choose another output")
        if bundle.manifest.task == "enhance":
            output_format(target)  # a bad extension shows before the graph is loaded
        started = time.perf_counter()
        graph = load_graph(bundle, backend, threads)
        loaded = time.perf_counter()
        frames, outputs = task(bundle, graph, reader, target, report)
        seconds = time.perf_counter() - loaded
        return FileReport(
            input=str(source),
            outputs=[str(path) for path in outputs],
            backend=backend,
            threads=threads,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            frames=frames,
            load_seconds=loaded - started,
            run_seconds=seconds,
            rtf=seconds * reader.sample_rate / frames,
        )


def _enhance(
    bundle: Bundle, graph: Graph, reader: AudioReader, target: Path, progress: Progress
) -> tuple[int, list[Path]]:
    """Every channel on its own, resampled to the model's rate and back."""
    manifest, rate, channels = bundle.manifest, reader.sample_rate, reader.channels
    streams = [EnhancerStream(manifest, graph) for _ in range(channels)]
    down = Resampler(rate, manifest.sample_rate, channels)
    up = Resampler(manifest.sample_rate, rate, channels)
    with output_file(target) as temporary, AudioWriter(temporary, rate, channels, reader.frames, target) as writer:
        output = _ExactLength(writer)

        def enhance(block: np.ndarray) -> np.ndarray:
            return np.stack([s.process(block[:, c]) for c, s in enumerate(streams)], axis=1)

        for block in reader.blocks():
            output.expect(len(block))
            output.write(up.process(enhance(down.process(block))))
            progress("enhance", len(block), reader.frames)
        output.write(up.process(enhance(down.flush())))
        output.write(up.process(np.stack([stream.flush() for stream in streams], axis=1)))
        output.write(up.flush())
        output.finish()
    _note_clipping([writer], target)
    return output.frames, [target]


def _separate(
    bundle: Bundle, graph: Graph, reader: AudioReader, target: Path, progress: Progress
) -> tuple[int, list[Path]]:
    """Two passes: the statistics of the whole track, then the segments."""
    manifest, rate = bundle.manifest, reader.sample_rate
    if 1 < reader.channels < manifest.channels:
        raise InputError(f"{reader.path}: {reader.channels} channels, the model needs {manifest.channels}")
    if reader.channels > manifest.channels:
        print(
            f"note: {reader.path}: the first {manifest.channels} of {reader.channels} channels are separated",
            file=sys.stderr,
        )

    def resampled(label: str):
        """Blocks (frames read, audio at the model's rate) of the whole track."""
        resampler = Resampler(rate, manifest.sample_rate, manifest.channels)
        for block in reader.blocks():
            yield len(block), resampler.process(_mapped(block, manifest.channels))
            progress(label, len(block), reader.frames)
        yield 0, resampler.flush()

    names = [f"{source}.wav" for source in manifest.sources]
    with output_folder(target) as temporary, ExitStack() as stack:
        statistics = Statistics()
        for _, block in resampled("measure"):
            statistics.update(block)
        separator = Separator(manifest, graph, statistics.mean, statistics.std)
        writers = [
            AudioWriter(temporary / name, rate, manifest.channels, reader.frames, target / name) for name in names
        ]
        outputs = [_ExactLength(stack.enter_context(writer)) for writer in writers]
        ups = [Resampler(manifest.sample_rate, rate, manifest.channels) for _ in writers]

        def write(stems: np.ndarray) -> None:
            for output, up, stem in zip(outputs, ups, stems, strict=True):
                output.write(up.process(stem.T))

        for frames, block in resampled("separate"):
            for output in outputs:
                output.expect(frames)
            write(separator.process(block.T))
        write(separator.flush())
        for output, up in zip(outputs, ups, strict=True):
            output.write(up.flush())
            output.finish()
    return outputs[0].frames, [target / name for name in names]


class _ExactLength:
    """Writes exactly as many frames as were read: resampling there and back may round by a few samples."""

    def __init__(self, writer: AudioWriter):
        self._writer = writer
        self.frames = self._written = 0

    def expect(self, frames: int) -> None:
        self.frames += frames

    def write(self, block: np.ndarray) -> None:
        # Only the end can be too long: no output precedes the input that it is made of.
        block = block[: max(0, self.frames - self._written)]
        self._writer.write(block)
        self._written += len(block)

    def finish(self) -> None:
        missing = self.frames - self._written
        self._writer.write(np.zeros((missing, self._writer.channels), np.float32))


def _mapped(block: np.ndarray, channels: int) -> np.ndarray:
    """(n, any) to (n, channels): mono is repeated, channels too many are dropped, as the demucs command does."""
    return np.repeat(block, channels, axis=1) if block.shape[1] == 1 else block[:, :channels]


def _note_clipping(writers: list[AudioWriter], target: Path) -> None:
    clipped = sum(writer.clipped for writer in writers)
    if clipped:
        print(f"note: {target}: {clipped} samples clipped at full scale; a .wav keeps them", file=sys.stderr)
