"""Runs a bundle over a recording, streaming from disk to disk; the outputs keep the input's rate and length."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from edge.audio import OUTPUT_FORMATS, AudioReader, AudioWriter, output_format
from edge.audio.tags import Tags, read_tags
from edge.bundle import Bundle, Manifest
from edge.errors import InputError
from edge.native.session import NativeGraph
from edge.outputs import output_file, output_folder, refuse_inputs
from edge.runtime.chain import Chain, ChainOptions, new_chain, refuse_bad_results, statistics_of
from edge.runtime.channels import mapping_note
from edge.runtime.excerpt import Excerpt
from edge.runtime.graphs import LoadedGraph, load_graph
from edge.runtime.pipes import PipeReader, PipeWriter
from edge.runtime.streams import Statistics

# Called with a short label of the pass, the seconds just done and those of the whole pass (0: not known).
Progress = Callable[[str, float, float], None]
Reader = AudioReader | PipeReader | Excerpt


class Writer(Protocol):
    name: Path
    notes: list[str]
    clipped: int

    def write(self, block: np.ndarray) -> None: ...


@dataclass(frozen=True)
class FileOptions:
    """What to make of a recording.

    format: of outputs, by a name of OUTPUT_FORMATS; None: that of a given name, else wav. source: write this stem
    alone. two_stems: write this stem and the rest. start, duration: the part to take, in seconds.
    """

    format: str | None = None
    source: str | None = None
    two_stems: str | None = None
    start: float = 0.0
    duration: float | None = None
    chain: ChainOptions = field(default_factory=ChainOptions)

    @property
    def extension(self) -> str:
        return OUTPUT_FORMATS[self.format or "wav"].extension

    def into_file(self, manifest: Manifest) -> bool:
        """Whether one file comes out, and no folder of stems."""
        return manifest.task == "enhance" or self.source is not None

    def stems(self, manifest: Manifest) -> list[str]:
        """Names of the files in a folder of stems."""
        names = [self.two_stems, f"no_{self.two_stems}"] if self.two_stems else manifest.sources
        return [f"{name}{self.extension}" for name in names]


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
    clipped: int = 0
    notes: list[str] = field(default_factory=list)


def run_file(
    bundle: Bundle,
    source: Path,
    target: Path,
    backend: str,
    threads: int = 1,
    progress: Progress | None = None,
    options: FileOptions | None = None,
) -> FileReport:
    """Enhance `source` into the audio file `target`, or separate it into the folder `target`, by the bundle's task.

    With options.source `target` is the file of that stem. Raises InputError for bad input and EdgeError where
    inference or writing fails; nothing is left behind then.
    """
    options = options or FileOptions()
    run = Run(bundle, backend, threads, options, progress or (lambda label, seconds, total: None))
    return run.file(source, target)


class Run:
    """One bundle and one set of options for any number of recordings; the graph is loaded once, when it is needed."""

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        threads: int,
        options: FileOptions,
        progress: Progress,
        load: Callable[[], LoadedGraph | NativeGraph] | None = None,
    ):
        """`load` gives the graph where it is another than `load_graph`'s."""
        self._bundle, self._backend, self._threads = bundle, backend, threads
        self._options, self.progress = options, progress
        self._load = functools.cache(load or (lambda: load_graph(bundle, backend, threads)))

    def file(self, source: Path, target: Path, keep: bool = False) -> FileReport:
        """A file, as `run_file`; `keep`: outputs that are there stay as they are."""
        with AudioReader(source) as reader:
            tags = read_tags(source)
            if tags.lost:
                reader.notes.append(f'{tags.lost} does not go over: that needs pip install "stem-edge[media]"')
            return self._into_files(reader, target, keep, tags)

    def pipe_to_file(self, reader: PipeReader, target: Path) -> FileReport:
        """Samples as they come into files. A separator normalises by what it has heard."""
        return self._into_files(reader, target, False, None)

    def to_pipe(self, reader: AudioReader | PipeReader, stream: BinaryIO, raw: str | None = None) -> FileReport:
        """One result into a stream that cannot seek; WAV, or `raw` samples."""
        manifest, options = self._bundle.manifest, self._options
        if not options.into_file(manifest):
            raise InputError(f"a pipe takes one stem: choose by --source ({', '.join(manifest.sources)})")
        return self._run(reader, lambda part, chain: [PipeWriter(stream, part.sample_rate, chain.channels, raw)])

    def _into_files(self, reader: AudioReader | PipeReader, target: Path, keep: bool, tags: Tags | None) -> FileReport:
        manifest, options = self._bundle.manifest, self._options
        output = _Output(target, manifest, options, keep)
        refuse_inputs(output.final, [reader.path])
        if options.into_file(manifest):
            output_format(target, options.format)  # a bad extension shows before the graph is loaded
        self._load()
        if tags is not None and options.start:
            tags = tags.started(round(options.start * reader.sample_rate))
        with output:
            return self._run(reader, output.open(tags), [str(path) for path in output.final], output.close)

    def _run(
        self,
        source: AudioReader | PipeReader,
        open_writers: Callable[[Reader, Chain], Sequence[Writer]],
        outputs: Sequence[str] = (),
        close: Callable[[], None] = lambda: None,
    ) -> FileReport:
        manifest, options = self._bundle.manifest, self._options
        cut = options.start > 0 or options.duration is not None
        reader: Reader = Excerpt(source, options.start, options.duration) if cut else source
        started = time.perf_counter()
        graph = self._load()
        loaded = time.perf_counter()
        chain = new_chain(
            self._bundle, graph, reader.sample_rate, reader.channels, options.chain, self._statistics(source, reader)
        )
        notes = []
        if manifest.task == "separate" and (note := mapping_note(reader.channels, manifest.channels)):
            notes.append(note)
        writers = open_writers(reader, chain)
        for writer, block in self._results(reader, chain, writers):
            writer.write(block)
        close()
        if chain.faults[0]:
            notes.append(f"{chain.faults[0]} NaN, infinite or absurd samples were taken for 0")
        seconds = time.perf_counter() - loaded
        notes = [f"{source.path}: {note}" for note in (*source.notes, *notes)]
        for writer in writers:
            notes += writer.notes
            if writer.clipped:
                notes.append(f"{writer.name}: {writer.clipped} samples clipped at full scale; a float .wav keeps them")
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        return FileReport(
            input=str(source.path),
            outputs=list(outputs),
            backend=self._backend,
            threads=self._threads,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            frames=chain.frames,
            load_seconds=loaded - started,
            run_seconds=seconds,
            rtf=seconds * reader.sample_rate / chain.frames,
            clipped=sum(writer.clipped for writer in writers),
            notes=notes,
        )

    def _statistics(self, source: AudioReader | PipeReader, reader: Reader) -> Statistics | None:
        """The first of two passes: those of the whole recording; None where there is only one pass."""
        manifest = self._bundle.manifest
        if manifest.task == "enhance" or isinstance(source, PipeReader):
            return None
        assert not isinstance(reader, PipeReader)
        return statistics_of(
            reader, manifest.sample_rate, manifest.channels, lambda frames: self._tell("measure", frames, reader)
        )

    def _tell(self, label: str, frames: int, reader: Reader) -> None:
        self.progress(label, frames / reader.sample_rate, reader.frames / reader.sample_rate)

    def _results(self, reader: Reader, chain: Chain, writers: Sequence[Writer]) -> Iterator[tuple[Writer, np.ndarray]]:
        """Each writer with a block of its own, float32 (n, channels)."""
        manifest = self._bundle.manifest
        wanted = self._wanted(manifest)
        # the input's blocks, then what is left
        for block in itertools.chain(reader.blocks(), [None]):
            results = chain.flush() if block is None else chain.process(block)
            refuse_bad_results(chain, reader.path)
            for writer, indices in zip(writers, wanted, strict=True):
                yield writer, results[indices[0]] if len(indices) == 1 else results[indices].sum(axis=0)
            if block is not None:
                self._tell(manifest.task, len(block), reader)

    def _wanted(self, manifest: Manifest) -> list[list[int]]:
        """For each output the sources that it is the sum of."""
        everything = range(len(manifest.sources))
        if self._options.source:
            return [[manifest.sources.index(self._options.source)]]
        if self._options.two_stems:
            chosen = manifest.sources.index(self._options.two_stems)
            return [[chosen], [index for index in everything if index != chosen]]
        return [[index] for index in everything]


class _Output:
    """The files of one run, which get their names when all are whole; a context manager."""

    def __init__(self, target: Path, manifest: Manifest, options: FileOptions, keep: bool):
        self._target, self._stack, self._format = target, ExitStack(), options.format
        self._names = [] if options.into_file(manifest) else options.stems(manifest)
        self._keep = keep
        self.final = [target / name for name in self._names] or [target]
        self._writers: list[AudioWriter] = []

    def __enter__(self) -> _Output:
        make = output_folder if self._names else output_file
        self._temporary = self._stack.enter_context(make(self._target))
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def open(self, tags: Tags | None) -> Callable[[Reader, Chain], list[AudioWriter]]:
        """A function that opens a writer for each file."""

        def opened(reader: Reader, chain: Chain) -> list[AudioWriter]:
            # a run that is killed leaves its folder: nothing in it should look like a stem
            self._paths = [self._temporary / f"{name}.part" for name in self._names] or [self._temporary]
            for path, final in zip(self._paths, self.final, strict=True):
                kind = output_format(final, self._format)
                writer = AudioWriter(path, reader.sample_rate, chain.channels, reader.frames, final, kind, tags)
                self._writers.append(self._stack.enter_context(writer))
            return self._writers

        return opened

    def close(self) -> None:
        """All samples are written: the names may be given."""
        for writer in self._writers:
            writer.close()
        for path, name in zip(self._paths, self._names, strict=False):
            if self._keep and (self._target / name).exists():
                path.unlink()
            else:
                os.replace(path, self._temporary / name)
