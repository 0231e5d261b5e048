"""What low latency costs a separator: SDR and RTF by latency, on a song whose stems are known.

python -m edge.benchmarks.latency BUNDLE [SONG_FOLDER] [--latencies 0.2,0.5,1,2,4]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge import samples
from edge.audio import AudioReader, Resampler
from edge.backends import BACKENDS
from edge.benchmarks.tables import markdown
from edge.bundle import Bundle, Manifest, open_bundle
from edge.console import make_parser, positive_int, run_command
from edge.errors import InputError
from edge.metrics import sdr
from edge.runtime.channels import mapped
from edge.runtime.graphs import default_backend, load_graph
from edge.runtime.lowlatency import LowLatencySeparator
from edge.runtime.session import Session, new_session
from edge.runtime.streams import Statistics

LATENCIES = "0.2,0.5,1,2,4"


@dataclass(frozen=True)
class LatencyRow:
    """Seconds, SDR in dB (mean of the sources), RTF: median time of one inference / its hop. latency None: a file."""

    latency: float | None
    hop: float
    lookahead: float | None
    sdr: float
    rtf: float


def measure_latencies(
    bundle: Bundle, folder: Path, latencies: list[float], backend: str, threads: int = 1
) -> list[LatencyRow]:
    """One row for the file form, with all its context, and one a latency.

    `folder` holds a recording a source (drums.wav, ...) of any rate, whose sum is the mix. Raises InputError where
    one is missing or a latency is not possible.
    """
    manifest = bundle.manifest
    if manifest.task != "separate":
        raise InputError(f"{bundle.path}: the latency of an enhancer is fixed; give a separator")
    stems = np.stack([_stem(manifest, folder, source) for source in manifest.sources])
    mix = stems.sum(axis=0)
    graph = load_graph(bundle, backend, threads)
    statistics = Statistics()
    statistics.update(mix.T)
    rows = []
    for latency in [None, *latencies]:
        session = new_session(bundle, graph, latency, None if latency else statistics)
        plan = session.plan if isinstance(session, LowLatencySeparator) else None
        hop = session.hop
        estimate, seconds = _timed(session, mix, hop)
        lookahead = plan.lookahead / manifest.sample_rate if plan else None
        quality = float(np.mean([sdr(one, other) for one, other in zip(stems, estimate, strict=True)]))
        rate = manifest.sample_rate
        rows.append(LatencyRow(latency, hop / rate, lookahead, quality, seconds * rate / hop))
    return rows


def _stem(manifest: Manifest, folder: Path, source: str) -> np.ndarray:
    """(channels, n) at the model's rate."""
    for file in sorted(folder.glob(f"{source}.*")):
        with AudioReader(file) as reader:
            resampler = Resampler(reader.sample_rate, manifest.sample_rate, manifest.channels)
            blocks = [resampler.process(mapped(block, manifest.channels)) for block in reader.blocks()]
            return np.concatenate([*blocks, resampler.flush()]).T
    raise InputError(f"{folder}: no {source}.wav (or .flac, ...) in it")


def _timed(session: Session, mix: np.ndarray, hop: int) -> tuple[np.ndarray, float]:
    """The stems, and the median seconds of a hop of audio after the first segment."""
    pieces, seconds = [], []
    for start in range(0, mix.shape[1], hop):
        started = time.perf_counter()
        pieces.append(session.process(mix[:, start : start + hop]))
        if pieces[-1].shape[-1]:
            seconds.append(time.perf_counter() - started)
    pieces.append(session.flush())
    return np.concatenate(pieces, axis=-1), float(np.median(seconds[1:] or seconds))


def _table(rows: list[LatencyRow]) -> str:
    table = [["latency, s", "hop, s", "look-ahead, s", "SDR, dB", "RTF"]]
    for row in rows:
        latency = "a file" if row.latency is None else f"{row.latency:g}"
        ahead = "" if row.lookahead is None else f"{row.lookahead:.3g}"
        rtf = f"{row.rtf:.3f}" + (" (not real time)" if row.rtf >= 1 else "")
        table.append([latency, f"{row.hop:.3g}", ahead, f"{row.sdr:.2f}", rtf])
    return markdown(table, 0)


def _latencies(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError("seconds, separated by commas") from None


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge.benchmarks.latency",
        "Measure a separator's SDR and RTF by latency; prints a Markdown table.",
        "  python -m edge.benchmarks.latency bundles/htdemucs-mini\n"
        "  python -m edge.benchmarks.latency bundles/htdemucs songs/one --latencies 0.5,1 --backend executorch",
    )
    parser.add_argument("bundle", type=Path, help="a separator's bundle: a folder or NAME.edge")
    parser.add_argument("song", type=Path, nargs="?", help="a folder with a recording a source (default: the sample)")
    parser.add_argument("--latencies", type=_latencies, default=_latencies(LATENCIES), help=f"default: {LATENCIES}")
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="default: onnx where the bundle has it")
    parser.add_argument("--threads", type=positive_int, default=1, help="default: 1")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)

    def run() -> None:
        bundle = open_bundle(args.bundle)
        song = args.song or samples.FOLDER / "song"
        backend = args.backend or default_backend(bundle)
        rows = measure_latencies(bundle, song, args.latencies, backend, args.threads)
        print(json.dumps([asdict(row) for row in rows], indent=2) if args.json else _table(rows))

    return run_command("edge.benchmarks.latency", run)


if __name__ == "__main__":
    sys.exit(main())
