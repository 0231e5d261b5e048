"""Runs a bundle over an audio file, streaming from disk to disk; the outputs keep the input's rate and length."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.audio import AudioReader, AudioWriter, output_format
from edge.bundle import Bundle, Manifest
from edge.errors import InputError
from edge.native.session import NativeGraph
from edge.outputs import output_file, output_folder
from edge.runtime.chain import new_chain, refuse_bad_results, statistics_of
from edge.runtime.graphs import LoadedGraph, load_graph
from edge.runtime.streams import Statistics

# Called with a short label of the pass, the frames just done and the frames of the whole pass.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FileOptions:
    """format: extension of outputs that are not named. source: write this stem alone. consistent: stems add up."""

    format: str = "wav"
    source: str | None = None
    consistent: bool = False


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
    bundle: Bundle,
    source: Path,
    target: Path,
    backend: str,
    threads: int = 1,
    progress: Progress | None = None,
    options: FileOptions | None = None,
    load: Callable[[], LoadedGraph | NativeGraph] | None = None,
) -> FileReport:
    """Enhance `source` into the audio file `target`, or separate it into the folder `target`, by the bundle's task.

    With options.source `target` is the file of that stem. `load` gives the graph where it may be loaded already.
    Raises InputError for bad input and EdgeError where inference or writing fails; nothing is left behind then.
    """
    report, options = progress or (lambda label, frames, total: None), options or FileOptions()
    manifest = bundle.manifest
    into_file = manifest.task == "enhance" or options.source is not None
    with AudioReader(source) as reader:
        if target.exists() and target.samefile(source):
            raise InputError(f"{target} is the input; choose another output")
        if into_file:
            output_format(target)  # a bad extension shows before the graph is loaded
        started = time.perf_counter()
        graph = load() if load else load_graph(bundle, backend, threads)
        loaded = time.perf_counter()
        with _Output(target, manifest, options, into_file) as output:
            statistics = _measured(reader, manifest, report) if manifest.task == "separate" else None
            frames = _process(bundle, graph, reader, output, statistics, options, report)
        seconds = time.perf_counter() - loaded
        return FileReport(
            input=str(source),
            outputs=[str(path) for path in output.final],
            backend=backend,
            threads=threads,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            frames=frames,
            load_seconds=loaded - started,
            run_seconds=seconds,
            rtf=seconds * reader.sample_rate / frames,
        )


def output_for(manifest: Manifest, source: Path, output: Path | None, many: bool, options: FileOptions) -> Path:
    """Where the result of `source` goes: `output` itself, or a name in it (default: here) where there are `many`."""
    if output is not None and not many:
        return output
    if manifest.task == "separate" and options.source is None:
        name = f"{source.stem}_stems"
    else:
        name = f"{source.stem}_{options.source or 'enhanced'}.{options.format}"
    return (output or Path()) / name


def finished(manifest: Manifest, target: Path, options: FileOptions) -> bool:
    """Whether everything that would be written to `target` is there: a final name exists only when it is whole."""
    if manifest.task == "enhance" or options.source is not None:
        return target.is_file()
    return all((target / name).is_file() for name in _stem_names(manifest, options))


def _stem_names(manifest: Manifest, options: FileOptions) -> list[str]:
    return [f"{source}.{options.format}" for source in manifest.sources]


def _measured(reader: AudioReader, manifest: Manifest, progress: Progress) -> Statistics:
    """The first of two passes: the statistics of the whole track at the model's rate."""
    if 1 < reader.channels < manifest.channels:
        return Statistics()  # refused by the chain

    def told(frames: int) -> None:
        progress("measure", frames, reader.frames)

    return statistics_of(reader, manifest.sample_rate, manifest.channels, told)


def _process(
    bundle: Bundle,
    graph: LoadedGraph | NativeGraph,
    reader: AudioReader,
    output: _Output,
    statistics: Statistics | None,
    options: FileOptions,
    progress: Progress,
) -> int:
    """The pass that writes; returns the frames of the input."""
    manifest = bundle.manifest
    chain = new_chain(
        bundle,
        graph,
        reader.sample_rate,
        reader.channels,
        statistics=statistics,
        consistent=options.consistent,
        name=reader.path,
    )
    if reader.channels > chain.channels:
        print(
            f"note: {reader.path}: {_channels_used(reader.channels, chain.channels)}",
            file=sys.stderr,
        )
    wanted = [manifest.sources.index(options.source)] if options.source else range(len(manifest.sources))
    with output.writers(reader.sample_rate, chain.channels, reader.frames) as writers:
        for block in reader.blocks():
            results = chain.process(block)
            for writer, index in zip(writers, wanted, strict=True):
                writer.write(results[index])
            progress(manifest.task, len(block), reader.frames)
            refuse_bad_results(chain, output.target)
        results = chain.flush()
        for writer, index in zip(writers, wanted, strict=True):
            writer.write(results[index])
        refuse_bad_results(chain, output.target)
    for writer in writers:
        if writer.clipped:
            clipped = f"{writer.clipped} samples clipped at full scale"
            print(f"note: {writer.name}: {clipped}; a .wav keeps them", file=sys.stderr)
    return chain.frames


def _channels_used(there: int, used: int) -> str:
    if used == 1:
        return f"its {there} channels are mixed into one, as the model has one"
    return f"the first {used} of {there} channels are separated"


class _Output:
    """The files of one run, which get their names when all are whole; a context manager."""

    def __init__(self, target: Path, manifest: Manifest, options: FileOptions, into_file: bool):
        self.target, self._stack = target, ExitStack()
        self._names = [] if into_file else _stem_names(manifest, options)
        self.final = [target / name for name in self._names] or [target]

    def __enter__(self) -> _Output:
        make = output_folder if self._names else output_file
        self._temporary = self._stack.enter_context(make(self.target))
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    @contextmanager
    def writers(self, rate: int, channels: int, frames: int) -> Iterator[list[AudioWriter]]:
        """A writer for each file."""
        # a run that is killed leaves its folder: nothing in it should look like a stem
        paths = [self._temporary / f"{name}.part" for name in self._names] or [self._temporary]
        with ExitStack() as stack:
            yield [
                stack.enter_context(AudioWriter(path, rate, channels, frames, final))
                for path, final in zip(paths, self.final, strict=True)
            ]
        for path, name in zip(paths, self._names, strict=False):
            os.replace(path, self._temporary / name)
