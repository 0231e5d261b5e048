"""Days of audio through one session, as fast as it goes: does it grow, drift or break?

    python -m edge.benchmarks.soak BUNDLE --hours 24 [--backend executorch] [--json]

The audio is the sample recording at changing levels, cut into blocks of random size, with pauses, denormal numbers,
NaN and infinite samples between. Exit code 1 where the process grew, counts differ or a sample is not finite.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge import samples
from edge.backends import BACKENDS
from edge.benchmarks.memory import peak_memory_bytes, status_bytes
from edge.bundle import open_bundle
from edge.console import make_parser, positive_float, progress_bar, run_command
from edge.errors import InputError
from edge.runtime.graphs import default_backend
from edge.runtime.session import open_session

MAX_BLOCK = 2048
MAX_GROWTH = 4 << 20  # bytes of resident memory after the first hundredth


@dataclass(frozen=True)
class SoakReport:
    """Counts in samples; memory in bytes, after the first hundredth of the run and at its end."""

    bundle: str
    backend: str
    hours: float
    samples_in: int
    samples_out: int
    faulty_in: int
    not_finite_out: int
    hops: int
    inferences: int
    memory_start: int
    memory_end: int
    memory_peak: int
    objects_start: int
    objects_end: int
    run_seconds: float
    rtf: float

    def problems(self) -> list[str]:
        """What is wrong; empty for a good run."""
        found = []
        if self.samples_in != self.samples_out:
            found.append(f"{self.samples_in} samples in, {self.samples_out} out")
        if self.not_finite_out:
            found.append(f"{self.not_finite_out} samples are not finite")
        if self.memory_peak - self.memory_start > MAX_GROWTH:
            found.append(f"memory grew by {(self.memory_peak - self.memory_start) / 1e6:.1f} MB")
        return found


def soak(path: Path, backend: str, hours: float, progress: Callable[[float], None]) -> SoakReport:
    """Stream `hours` of audio through an enhancer's session; `progress` gets the seconds of audio just done.

    Raises InputError for a separator's bundle.
    """
    bundle = open_bundle(path)
    session = open_session(bundle, backend)
    if bundle.manifest.task != "enhance":
        raise InputError(f"{path}: the soak test is for enhancers")
    total = round(hours * 3600 * session.sample_rate)
    fed = given = faulty = not_finite = 0
    memory_start = memory_peak = objects_start = 0
    blocks = _audio(np.random.default_rng(0))
    started = time.perf_counter()
    checked = 0
    while fed < total:
        block = next(blocks)[: total - fed]
        out = session.process(block)
        fed += len(block)
        given += len(out)
        faulty += int(np.count_nonzero(~np.isfinite(block)))
        not_finite += int(np.count_nonzero(~np.isfinite(out)))
        if fed - checked > total // 100:
            progress((fed - checked) / session.sample_rate)
            checked = fed
            memory_peak = max(memory_peak, _resident_bytes())
            if memory_start == 0:
                gc.collect()
                memory_start = memory_peak = _resident_bytes()
                objects_start = len(gc.get_objects())
    given += len(session.flush())
    seconds = time.perf_counter() - started
    gc.collect()
    memory_end = _resident_bytes()
    return SoakReport(
        bundle=bundle.manifest.name,
        backend=backend,
        hours=hours,
        samples_in=fed,
        samples_out=given,
        faulty_in=faulty,
        not_finite_out=not_finite,
        hops=session.counts.hops,
        inferences=session.counts.inferences,
        memory_start=memory_start,
        memory_end=memory_end,
        memory_peak=max(memory_peak, memory_end),
        objects_start=objects_start,
        objects_end=len(gc.get_objects()),
        run_seconds=seconds,
        rtf=seconds / (fed / session.sample_rate),
    )


def _audio(rng: np.random.Generator):
    """Endless blocks of 0 to MAX_BLOCK samples."""
    speech = samples.speech()[0].astype(np.float32)
    while True:
        audio = speech * np.float32(10 ** rng.uniform(-2, 0.5))
        kind = rng.integers(8)
        at = int(rng.integers(len(audio) // 2))
        if kind == 0:
            audio[at:] = 0
        elif kind == 1:
            audio[at:] = 1e-41  # denormal
        elif kind == 2:
            audio[at : at + 5] = (np.nan, np.inf, -np.inf, 1e38, -1e38)
        elif kind == 3:
            audio *= np.float32(1e-4)  # about the silence threshold: in and out of pauses
        start = 0
        while start < len(audio):
            size = int(rng.integers(MAX_BLOCK + 1))
            yield audio[start : start + size]
            start += size


def _resident_bytes() -> int:
    """The resident set of this process; its peak where the system does not tell (then growth shows all the same)."""
    return status_bytes("VmRSS") or peak_memory_bytes() or 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge.benchmarks.soak",
        "Stream days of audio through an enhancer's session and check that nothing grows, drifts or breaks.",
        "  python -m edge.benchmarks.soak bundles/enhancer --hours 24",
    )
    parser.add_argument("bundle", type=Path, help="an enhancer's bundle: a folder or NAME.edge")
    parser.add_argument("--hours", type=positive_float, default=24.0, help="of audio (default: 24)")
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="default: onnx where the bundle has it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args(argv)

    def run() -> int:
        backend = args.backend or default_backend(open_bundle(args.bundle))
        with progress_bar(total=round(args.hours * 3600), unit="s", unit_scale=True, desc="soak") as bar:
            report = soak(args.bundle, backend, args.hours, bar.update)
        problems = report.problems()
        if args.json:
            print(json.dumps(asdict(report) | {"problems": problems}, indent=2))
        else:
            print(
                f"{report.bundle} ({report.backend}): {report.hours:g} h in {report.run_seconds:.0f} s, RTF "
                f"{report.rtf:.4f}; {report.samples_in} samples in, {report.samples_out} out; {report.inferences} of "
                f"{report.hops} hops run; {report.faulty_in} faulty samples in, {report.not_finite_out} out; memory "
                f"{report.memory_start / 1e6:.1f} -> {report.memory_end / 1e6:.1f} MB, objects "
                f"{report.objects_start} -> {report.objects_end}"
            )
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
        return 1 if problems else 0

    return run_command("edge.benchmarks.soak", run)


if __name__ == "__main__":
    sys.exit(main())
