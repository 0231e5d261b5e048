"""edge-run: run a bundle on recordings, on a pipe, or live on sound devices."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.backends import BACKENDS
from edge.bundle import Bundle
from edge.console import PassBars, fail, make_parser, positive_float, positive_int, processors, run_command
from edge.errors import EdgeError, InputError

EXAMPLES = """\
  edge-run bundles/enhancer noisy.wav                    writes noisy_enhanced.wav
  edge-run bundles/enhancer noisy.flac -o clean.flac
  edge-run bundles/htdemucs-mini song.mp3                writes song_stems/drums.wav and the other stems
  edge-run bundles/htdemucs.edge song.wav -o stems --backend executorch --threads 2
  edge-run bundles/htdemucs-mini *.mp3 -o stems --format flac --resume
  edge-run bundles/htdemucs-mini song.mp3 --source vocals -o vocals.wav

  ffmpeg -i talk.mp4 -f wav - | edge-run bundles/enhancer - -o - | sox -t wav - clean.flac
  edge-run bundles/enhancer - -o - --raw s16le --rate 16000 < talk.s16 > clean.s16

  edge-run bundles/enhancer --live                       microphone to loudspeaker
  edge-run bundles/enhancer --live --list-devices
  edge-run bundles/htdemucs-mini --live --input song.mp3 keys mute and solo while it plays
  edge-run bundles/htdemucs-mini --live --latency 0.5
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge-run",
        "Enhance speech or separate music with a bundle: files of any rate, channel count and length (the outputs "
        "keep rate and length), a pipe, or live.",
        EXAMPLES,
    )
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle: a folder or NAME.edge")
    parser.add_argument(
        "inputs", type=Path, nargs="*", metavar="input", help="audio files (WAV, FLAC, MP3, OGG, AIFF, ...); - is stdin"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="enhance: an audio file (.wav, .flac, ...); separate: a folder; of several inputs: a folder for all; "
        "- is stdout; live: a device",
    )
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="default: onnx where the bundle has it")
    parser.add_argument(
        "--engine", choices=("python", "native"), default="python", help="native: the C++ library (default: python)"
    )
    parser.add_argument("--threads", type=positive_int, help="default: 1 for enhance, all processors for separate")
    parser.add_argument("--source", metavar="NAME", help="separate: write this stem alone, to a file")
    parser.add_argument("--consistent", action="store_true", help="separate: the stems add up to the input exactly")
    parser.add_argument(
        "--latency", type=positive_float, metavar="S", help="separate, live or on a pipe: seconds; less costs more"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    files = parser.add_argument_group("files")
    files.add_argument("--format", choices=("wav", "flac"), help="of outputs that OUT does not name (default: wav)")
    files.add_argument("--resume", action="store_true", help="skip inputs whose outputs are there")
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
    live.add_argument("--bypass", action="store_true", help="start with the input as it is (key b)")
    live.add_argument("--mute", action="append", default=[], metavar="SOURCE", help="start with a source muted")
    args = parser.parse_intermixed_args(argv)
    if not args.list_devices:
        if args.bundle is None:
            parser.error("a bundle is needed")
        if not args.live and not args.inputs:
            parser.error("an input is needed: audio files, - for stdin, or --live")
    return run_command("edge-run", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.list_devices:
        from edge.runtime.devices import list_devices

        print(list_devices())
        return 0
    from edge.bundle import open_bundle
    from edge.runtime.graphs import default_backend

    bundle = open_bundle(args.bundle)
    backend = args.backend or default_backend(bundle)
    threads = args.threads or (1 if bundle.manifest.task == "enhance" else processors())
    if args.source is not None and args.source not in bundle.manifest.sources:
        raise InputError(f"{args.bundle}: no source {args.source!r}; it has {', '.join(bundle.manifest.sources)}")
    if args.live:
        _run_live(args, bundle, backend, threads)
        return 0
    if args.inputs == [Path("-")]:
        _run_pipe(args, bundle, backend, threads)
        return 0
    if args.output == "-" or Path("-") in args.inputs:
        raise InputError("- stands for stdin and stdout, in both places: edge-run BUNDLE - -o -")
    if args.latency is not None:
        raise InputError("--latency is for --live and for pipes; a file is separated with all its context")
    return _run_files(args, bundle, backend, threads)


def _run_live(args: argparse.Namespace, bundle: Bundle, backend: str, threads: int) -> None:
    from edge.cli.live import LiveOptions, run_live

    if args.engine == "native":
        raise InputError("--engine native is for files and pipes; --live has its own worker")
    if args.inputs:
        raise InputError(f"with --live the input is a device or a file by --input: --live --input {args.inputs[0]}")
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
        bypass=args.bypass,
        mute=tuple(args.mute),
    )
    run_live(bundle, options, args.json)


def _run_pipe(args: argparse.Namespace, bundle: Bundle, backend: str, threads: int) -> None:
    from edge.runtime.pipes import run_pipe

    if args.output not in (None, "-"):
        raise InputError("from stdin the output goes to stdout: edge-run BUNDLE - -o -")
    run_pipe(
        bundle,
        sys.stdin.buffer,
        sys.stdout.buffer,
        backend,
        threads,
        raw=args.raw,
        rate=args.rate,
        channels=args.channels,
        source=args.source,
        latency=args.latency,
        consistent=args.consistent,
        load=_loader(args, bundle, backend, threads),
    )


def _loader(args: argparse.Namespace, bundle: Bundle, backend: str, threads: int) -> Callable[[], Any]:
    """What loads the graph, once, in the engine that was asked for."""
    from edge.native.session import NativeGraph
    from edge.runtime.graphs import load_graph

    if args.engine == "native":
        return functools.cache(lambda: NativeGraph(bundle.path, backend, threads))
    return functools.cache(lambda: load_graph(bundle, backend, threads))


def _run_files(args: argparse.Namespace, bundle: Bundle, backend: str, threads: int) -> int:
    """One file after the other on one loaded graph; a failure does not stop the others, and shows in the exit code."""
    from edge.audio import AudioReader
    from edge.runtime.files import FileOptions, finished, output_for, run_file

    many = len(args.inputs) > 1
    options = FileOptions(args.format or "wav", args.source, args.consistent)
    output = None if args.output is None else Path(args.output)
    targets = [output_for(bundle.manifest, source, output, many, options) for source in args.inputs]
    for i, target in enumerate(targets):
        if target in targets[:i]:
            raise InputError(f"{args.inputs[i]} and {args.inputs[targets.index(target)]} would both become {target}")
    load = _loader(args, bundle, backend, threads)
    code, reports = 0, []
    for source, target in zip(args.inputs, targets, strict=True):
        if args.resume and finished(bundle.manifest, target, options):
            print(f"{target} is there: {source} is skipped", file=sys.stderr)
            continue
        try:
            with AudioReader(source) as reader:
                rate = reader.sample_rate
            with PassBars(rate) as progress:
                report = run_file(bundle, source, target, backend, threads, progress, options, load)
        except EdgeError as error:
            if not many:
                raise
            code = max(code, error.exit_code)
            fail("edge-run", error, code)
            continue
        reports.append(report)
        if not args.json:
            _print(bundle, report)
    if args.json:
        listed = [dataclasses.asdict(report) for report in reports]
        print(json.dumps(listed if many else listed[0] if listed else None, indent=2))
    return code


def _print(bundle: Bundle, report) -> None:
    seconds = report.frames / report.sample_rate
    print(
        f"{bundle.manifest.name} ({report.backend}, {report.threads} thread(s)): {seconds:.1f} s of audio in "
        f"{report.run_seconds:.1f} s, RTF {report.rtf:.3f}"
    )
    for output in report.outputs:
        print(output)


if __name__ == "__main__":
    sys.exit(main())
