"""edge-run: run a bundle on recordings, on a pipe, or live on sound devices."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge.backends import BACKENDS
from edge.bundle import Bundle
from edge.console import (
    fitting_threads,
    make_parser,
    non_negative_float,
    positive_float,
    positive_int,
    processors,
    run_command,
)
from edge.errors import InputError

# As in edge.audio.OUTPUT_FORMATS, which takes longer to import than --help should.
_FORMATS = ("wav", "wav16", "wav24", "flac", "mp3", "ogg", "opus", "m4a", "w64", "aiff", "caf")

EXAMPLES = """\
  edge-run enhancer talk.wav                             writes talk_enhanced.wav beside it
  edge-run enhancer talk.m4a -o clean.flac --atten-limit 12
  edge-run htdemucs-mini song.mp3                        writes song_stems/drums.wav and the other stems
  edge-run htdemucs-mini song.mp3 --two-stems vocals --format mp3
  edge-run htdemucs-mini song.mp3 --source vocals -o vocals.wav --start 60 --duration 30
  edge-run enhancer recordings --recursive -o clean --format flac --resume
  edge-run bundles/htdemucs.edge song.wav -o stems --backend executorch --threads 2
  edge-run --list                                        the bundles that come with stem-edge

  ffmpeg -i talk.mp4 -f wav - | edge-run enhancer - -o - | sox -t wav - clean.flac
  edge-run enhancer - -o - --raw s16le --rate 16000 < talk.s16 > clean.s16

  edge-run enhancer --live                               microphone to loudspeaker
  edge-run enhancer --live --list-devices
  edge-run htdemucs-mini --live --input song.mp3         keys mute and solo while it plays
  edge-run htdemucs-mini --live --latency 0.5
  edge-run enhancer --live --loop-back                   measure the latency, with a cable from output to input
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge-run",
        "Enhance speech or separate music with a bundle: files of any kind, rate, channel count and length (the "
        "outputs keep rate and length), a pipe, or live.",
        EXAMPLES,
    )
    parser.add_argument("bundle", nargs="?", help="a bundle: a folder, NAME.edge, or a name of --list")
    parser.add_argument(
        "inputs", nargs="*", metavar="input", help="recordings (WAV, FLAC, MP3, M4A, ...) or folders; - is stdin"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a folder for the results (default: beside each input); of one recording also a file (.wav, .flac, "
        ".mp3, .ogg, .opus, .m4a, ...); - is stdout; live: a device",
    )
    parser.add_argument("--list", action="store_true", help="list the bundles that come with stem-edge and exit")
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="default: onnx where the bundle has it")
    parser.add_argument(
        "--engine", choices=("python", "native"), default="python", help="native: the C++ library (default: python)"
    )
    parser.add_argument("--threads", type=positive_int, help="default: 1 for enhance, all processors for separate")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    enhance = parser.add_argument_group("enhance")
    enhance.add_argument(
        "--atten-limit", type=non_negative_float, metavar="DB", help="take at most so much away; 0 leaves the input"
    )
    enhance.add_argument(
        "--band", choices=("full", "model"), default="full", help="keep what is above the model's band (default: full)"
    )
    separate = parser.add_argument_group("separate")
    separate.add_argument("--source", metavar="NAME", help="write this stem alone, to a file")
    separate.add_argument("--two-stems", metavar="NAME", help="write this stem and the rest (no_NAME)")
    separate.add_argument("--consistent", action="store_true", help="the stems add up to the input exactly")
    separate.add_argument("--stereo", action="store_true", help="stems in stereo of a mono recording, too")
    separate.add_argument(
        "--latency", type=positive_float, metavar="S", help="live or on a pipe: seconds; less costs more"
    )
    files = parser.add_argument_group("files")
    files.add_argument("--format", choices=_FORMATS, help="of outputs (default: wav, which is float)")
    files.add_argument("--start", type=non_negative_float, default=0.0, metavar="S", help="leave out what is before")
    files.add_argument("--duration", type=positive_float, metavar="S", help="take so much")
    files.add_argument(
        "--name", metavar="TEMPLATE", help='of results, of {stem}, {parent} and {source}: "{parent}-{stem}"'
    )
    files.add_argument("--recursive", action="store_true", help="take all recordings in a folder")
    files.add_argument("--overwrite", action="store_true", help="replace results that are there")
    files.add_argument("--resume", action="store_true", help="skip inputs whose results are there")
    pipe = parser.add_argument_group("pipe")
    pipe.add_argument("--raw", choices=("f32le", "s16le"), help="samples without a header, in and out (default: WAV)")
    pipe.add_argument("--rate", type=positive_int, metavar="HZ", help="of raw input")
    pipe.add_argument("--channels", type=positive_int, help="of raw input (default: 1)")
    live = parser.add_argument_group("live")
    live.add_argument("--live", action="store_true", help="process while it sounds, until Ctrl-C")
    live.add_argument("--input", metavar="DEV", help="a device (number or part of its name), or a file to play")
    live.add_argument("--list-devices", action="store_true", help="list the sound devices and exit")
    live.add_argument("--block", type=positive_float, default=10.0, metavar="MS", help="of the device (default: 10)")
    live.add_argument("--buffer", type=positive_float, metavar="MS", help="of the device (default: 2 blocks)")
    live.add_argument("--seconds", type=positive_float, metavar="S", help="stop after so long")
    live.add_argument("--record", type=Path, metavar="FOLDER", help="write input.wav and output.wav, aligned")
    live.add_argument(
        "--loop-back",
        action="store_true",
        help="where the output leads back to the input: measure the latency by clicks",
    )
    live.add_argument("--bypass", action="store_true", help="start with the input as it is (key b)")
    live.add_argument("--mute", action="append", default=[], metavar="SOURCE", help="start with a source muted")
    args = parser.parse_intermixed_args(argv)
    if not args.list_devices and not args.list:
        if args.bundle is None:
            parser.error("a bundle is needed: a folder, NAME.edge, or a name of --list")
        if not args.live and not args.inputs:
            parser.error("an input is needed: recordings, - for stdin, or --live")
    return run_command("edge-run", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.list_devices:
        from edge.runtime.portaudio import list_devices

        print(list_devices())
        return 0
    if args.list:
        from edge.bundles import list_bundles

        print(list_bundles())
        return 0
    from edge.bundle import open_bundle
    from edge.runtime.graphs import default_backend

    bundle = open_bundle(args.bundle)
    backend = args.backend or default_backend(bundle)
    default = 1 if bundle.manifest.task == "enhance" else processors()
    threads = fitting_threads("edge-run", args.threads) if args.threads else default
    for name in (args.source, args.two_stems, *args.mute):
        if name is not None and name not in bundle.manifest.sources:
            raise InputError(f"{args.bundle}: no source {name!r}; it has {', '.join(bundle.manifest.sources)}")
    if args.source and args.two_stems:
        raise InputError("--source writes one stem and --two-stems two: choose one of them")
    if args.resume and args.overwrite:
        raise InputError("--resume keeps what is there and --overwrite replaces it: choose one of them")
    if args.live:
        _run_live(args, bundle, backend, threads)
        return 0
    if args.loop_back:
        raise InputError("--loop-back measures live devices: add --live")
    return _run_recordings(args, bundle, backend, threads)


def _run_live(args: argparse.Namespace, bundle: Bundle, backend: str, threads: int) -> None:
    from edge.cli.live import LiveOptions, run_live
    from edge.cli.quiet import libraries_quiet
    from edge.runtime.shaping import Shaping

    if args.engine == "native":
        raise InputError("--engine native is for files and pipes; --live has its own worker")
    if args.inputs:
        raise InputError(f"with --live the input is a device or a file by --input: --live --input {args.inputs[0]}")
    if args.loop_back and args.record:
        raise InputError("--loop-back plays clicks and records nothing: leave --record out")
    if args.atten_limit is not None and bundle.manifest.task != "enhance":
        raise InputError("--atten-limit is for enhancers; a separator's stems are mixed by the listener")
    options = LiveOptions(
        backend=backend,
        threads=threads,
        input=args.input,
        output=args.output,
        latency=args.latency,
        block=args.block,
        buffer=args.buffer,
        seconds=args.seconds,
        record=args.record,
        loop_back=args.loop_back,
        bypass=args.bypass,
        mute=tuple(args.mute),
        shaping=Shaping(args.band == "full", args.atten_limit),
    )
    with libraries_quiet():
        run_live(bundle, options, args.json)


def _run_recordings(args: argparse.Namespace, bundle: Bundle, backend: str, threads: int) -> int:
    from edge.cli.batch import run_batch
    from edge.runtime.batch import Places
    from edge.runtime.chain import ChainOptions
    from edge.runtime.files import FileOptions, Run
    from edge.runtime.pipes import is_stream, is_stream_output
    from edge.runtime.shaping import Shaping

    piped = [text for text in args.inputs if text == "-" or is_stream(Path(text))]
    to_stream = args.output is not None and (args.output == "-" or is_stream_output(Path(args.output)))
    if (piped or to_stream) and len(args.inputs) > 1:
        raise InputError("a pipe takes one recording: - stands for stdin and stdout")
    if args.latency is not None and not piped:
        raise InputError("--latency is for --live and for pipes; a file is separated with all its context")
    if args.raw is not None and not piped and not to_stream:
        raise InputError("--raw is for pipes: - stands for stdin and stdout")
    if (args.rate is not None or args.channels is not None) and not (piped and args.raw):
        raise InputError("--rate and --channels tell of --raw input; a file tells by itself")
    chain = ChainOptions(
        latency=args.latency,
        consistent=args.consistent or args.two_stems is not None,
        stereo=args.stereo,
        shaping=Shaping(args.band == "full", args.atten_limit),
    )
    options = FileOptions(args.format, args.source, args.two_stems, args.start, args.duration, chain)
    load = None
    if args.engine == "native":
        from edge.native.session import NativeGraph

        load = lambda: NativeGraph(bundle.path, backend, threads)  # noqa: E731
    run = Run(bundle, backend, threads, options, lambda label, seconds, total: None, load)
    if piped or (to_stream and args.inputs):
        _run_pipe(args, run, bool(piped), to_stream)
        return 0
    inputs = [Path(text) for text in args.inputs]
    places = Places(args.output, args.name, args.recursive)
    return run_batch(run, bundle.manifest, inputs, places, options, args)


def _run_pipe(args: argparse.Namespace, run, piped: bool, to_stream: bool) -> None:
    """From a pipe, into one, or both. Results on stdout leave no place for a report."""
    from edge.audio import AudioReader
    from edge.runtime.pipes import PipeReader

    source, target = args.inputs[0], args.output
    to_stream = to_stream or target is None
    if args.json and to_stream:
        raise InputError("--json and the audio both want stdout: name a file by -o")
    if to_stream and args.format is not None:
        raise InputError("a pipe carries WAV or --raw samples; --format is for files")
    with contextlib.ExitStack() as stack:
        reader: AudioReader | PipeReader
        if piped:
            stream = stack.enter_context(_opened(source, "rb"))
            reader = PipeReader(stream, args.raw, args.rate, args.channels)
        else:
            reader = stack.enter_context(AudioReader(source))
        if to_stream:
            run.to_pipe(reader, stack.enter_context(_opened(target or "-", "wb")), args.raw)
        elif Path(target).exists() and not args.overwrite and Path(target).is_dir():
            raise InputError(f"{target} is a folder; a pipe has no name that its results could take")
        else:
            report = run.pipe_to_file(reader, Path(target))
            print("\n".join(report.outputs))


@contextlib.contextmanager
def _opened(name: str, mode: str) -> Iterator[BinaryIO]:
    """stdin and stdout for - (and for /dev/stdout, which a socket does not let open), else the file."""
    if name in ("-", "/dev/stdin") and mode == "rb":
        yield sys.stdin.buffer
    elif name in ("-", "/dev/stdout"):
        yield sys.stdout.buffer
    else:
        with open(name, mode) as stream:
            yield stream  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main())
