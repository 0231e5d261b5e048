"""edge-run: run a bundle on a recording."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from edge.cli.common import PassBars, make_parser, positive_int, run_command

EXAMPLES = """\
  edge-run bundles/enhancer noisy.wav                    writes noisy_enhanced.wav
  edge-run bundles/enhancer noisy.flac -o clean.flac
  edge-run bundles/htdemucs-mini song.mp3                writes song_stems/drums.wav and the other stems
  edge-run bundles/htdemucs.edge song.wav -o stems --backend executorch --threads 2
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge-run",
        "Enhance a speech recording or separate a music recording with a bundle. Any sample rate, channel count "
        "and length in; the outputs keep the input's rate and length.",
        EXAMPLES,
    )
    parser.add_argument("bundle", type=Path, help="a bundle: a folder or NAME.edge")
    parser.add_argument("input", type=Path, help="an audio file (WAV, FLAC, MP3, OGG, AIFF, ...)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="enhance: an audio file (.wav, .flac, ...); separate: a folder"
    )
    parser.add_argument("--backend", choices=("onnx", "executorch"), help="default: onnx where the bundle has it")
    parser.add_argument("--threads", type=positive_int, help="default: 1 for enhance, all processors for separate")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    args = parser.parse_args(argv)
    return run_command(
        "edge-run", lambda: _run(args.bundle, args.input, args.output, args.backend, args.threads, args.json)
    )


def _run(
    path: Path, source: Path, target: Path | None, backend: str | None, threads: int | None, as_json: bool
) -> None:
    from edge.audio import AudioReader
    from edge.bundle import open_bundle
    from edge.runtime.files import run_file
    from edge.runtime.graphs import default_backend

    bundle = open_bundle(path)
    enhances = bundle.manifest.task == "enhance"
    with AudioReader(source) as reader:
        rate = reader.sample_rate
    if target is None:
        target = Path(f"{source.stem}_enhanced.wav" if enhances else f"{source.stem}_stems")
    with PassBars(rate) as progress:
        report = run_file(
            bundle,
            source,
            target,
            backend or default_backend(bundle),
            threads or (1 if enhances else _processors()),
            progress,
        )
    if as_json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
        return
    seconds = report.frames / report.sample_rate
    print(
        f"{bundle.manifest.name} ({report.backend}, {report.threads} thread(s)): {seconds:.1f} s of audio in "
        f"{report.run_seconds:.1f} s, RTF {report.rtf:.3f}"
    )
    for output in report.outputs:
        print(output)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
