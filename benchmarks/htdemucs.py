"""HT Demucs in its full released size against the demucs package's own PyTorch network, in one interleaved run:

    python -m edge.benchmarks.htdemucs -o docs/results/htdemucs.json

Speed does not depend on the weights' values, so they are random (and no licence matters). The graphs are exported
to build/htdemucs/, which takes minutes, and again only when code or tools have changed; every case works on one
segment of 7.8 s with the same number of threads. With --export it only makes the bundles, as docs/benchmarks.md does
for edge.benchmarks.arm.
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.backends import BACKENDS
from edge.benchmarks.compression.timing import Built, serve_torch
from edge.benchmarks.documents import write_json
from edge.benchmarks.profiling import profile_onnx
from edge.benchmarks.report import Content, Watch, compare_to, content, raise_failures
from edge.benchmarks.report_text import notes
from edge.benchmarks.rounds import Participant, run_alone
from edge.benchmarks.runner import Case, measure
from edge.benchmarks.stats import paired_ratio
from edge.benchmarks.tables import columns, number
from edge.bundle import Bundle, open_bundle
from edge.console import (
    enter_workbench,
    make_parser,
    positive_float,
    positive_int,
    progress_bar,
    run_command,
)
from edge.errors import EdgeError, InputError

if TYPE_CHECKING:
    from edge.models.htdemucs import HTDemucsConfig

NAME = "python -m edge.benchmarks.htdemucs"
VARIANTS = [(0.0, "fp32"), (0.5, "fp32"), (0.5, "auto")]  # prune ratio, precision
PACKAGE = "demucs package, PyTorch"


def export(folder: Path, config: HTDemucsConfig, cpu: str) -> list[Bundle]:
    """The bundles: unpruned, pruned by half, and that in the precision that pays on `cpu`; seeded random weights."""
    import torch

    from edge.benchmarks.compression.sweep import export_once
    from edge.export.pipeline import ExportOptions
    from edge.models.htdemucs import HTDemucs
    from edge.zoo import Model

    torch.manual_seed(0)
    network = HTDemucs(config).eval()
    model = Model("htdemucs", network, "MIT (random weights)", "none: random weights, for measuring speed")
    wanted = [ExportOptions(prune=ratio, precision=precision, cpu=cpu) for ratio, precision in VARIANTS]
    return [export_once(model, options, folder, lambda line: print(line, file=sys.stderr)) for options in wanted]


def build_demucs(config: HTDemucsConfig) -> Built:
    """The demucs package's HTDemucs of the same configuration in eval mode, on one segment."""
    import torch

    try:
        import demucs
        from demucs.htdemucs import HTDemucs
    except ImportError as error:
        raise InputError('the demucs package is missing: pip install "stem-edge[demucs]"') from error

    torch.manual_seed(0)
    network = HTDemucs(
        list(config.sources),
        segment=config.segment,
        channels=config.channels,
        bottom_channels=config.bottom_channels,
        dconv_mode=config.dconv_mode,
        dconv_comp=config.dconv_comp,
        t_layers=config.t_layers,
        t_heads=config.t_heads,
        t_dropout=0.0,
    ).eval()
    mix = torch.randn(1, config.audio_channels, config.segment_samples)
    versions = {"demucs": demucs.__version__, "torch": torch.__version__}
    return lambda: network(mix), {"parameters": sum(p.numel() for p in network.parameters()), "versions": versions}


def run(folder: Path, threads: int, seconds: float, launches: int, config: HTDemucsConfig, cpu: str) -> Content:
    """Export where needed, measure everything in one interleaved run, profile; a report with two more keys.

    `rivals`: name -> {seconds_rounds, versions, parameters, peak_bytes, speedup: {case: Ratio}}; a speedup is how many
    times faster than the rival the case runs the same segment, median of the rounds' own ratios. `delegation`: of each
    ExecuTorch program, in words. Raises EdgeError where a measurement fails or the networks are not the same.
    """
    bundles = export(folder, config, cpu)
    watch = Watch()
    cases = [Case(bundle.path, backend, threads) for bundle in bundles for backend in BACKENDS]
    rival = Participant(PACKAGE, serve_torch, (build_demucs, (config,), threads))
    with progress_bar(total=100, unit="%") as bar:

        def step(share: float, label: str) -> None:
            bar.set_description(label)
            bar.update(100 * share - bar.n)

        report = measure(cases, seconds, step, with_floor=True, others=[rival], launches=launches)
    raise_failures(report)
    unpruned = bundles[0]
    if rival.told["parameters"] != unpruned.manifest.compression.parameters.before:
        raise EdgeError(f"{unpruned.path} holds another network than the demucs package's")
    for result in report.results:
        if BACKENDS[result.backend].profiled:
            result.profile = run_alone(profile_onnx, result.bundle, threads, 5.0)
    compare_to(report.results, str(unpruned.path))
    settings = {"seconds": seconds, "threads": [threads], "seed": 0, "baseline": str(unpruned.path)}
    found = content(watch, report, NAME, [NAME, *sys.argv[1:]], **settings)
    times = [statistics.median(times) for times in rival.rounds]
    found["rivals"] = {
        PACKAGE: {
            "seconds_rounds": times,
            **{key: rival.told[key] for key in ("versions", "parameters", "peak_bytes")},
            "speedup": {
                case_name(r): dataclasses.asdict(
                    paired_ratio(times, [rtf * r["hop_seconds"] for rtf in r["rtf_rounds"]])
                )
                for r in found["results"]
            },
        }
    }
    found["delegation"] = {
        case_name(r): open_bundle(Path(r["bundle"])).manifest.graphs[r["backend"]].delegation()
        for r in found["results"]
        if not BACKENDS[r["backend"]].profiled
    }
    return found


def case_name(result: dict[str, Any]) -> str:
    """What `speedup` calls a result."""
    return f"{Path(result['bundle']).name} {result['backend']}"


def rows(found: Content) -> list[list[str]]:
    """Header and cells: the package's network, then each graph: its time, how much faster, the floor, size, memory."""
    table = [["network", "runtime", "s per segment", "times demucs", "(95 %)", "x of floor", "file MB", "peak MB"]]
    for name, rival in found["rivals"].items():
        versions = ", ".join(f"{package} {version}" for package, version in rival["versions"].items())
        seconds = statistics.median(rival["seconds_rounds"])
        table.append([name, versions, f"{seconds:.3f}", "1.00", "", "", "", number(rival["peak_bytes"], 1e-6, 0)])
        for r in found["results"]:
            ratio = rival["speedup"][case_name(r)]
            pruned = f"pruned {r['prune_ratio']:g}" if r["prune_ratio"] else "unpruned"
            table.append(
                [
                    f"ours, {pruned}, {r['precision']}",
                    r["backend"],
                    f"{r['rtf'] * r['hop_seconds']:.3f}",
                    f"{ratio['value']:.2f}",
                    f"{ratio['low']:.2f}-{ratio['high']:.2f}",
                    number((r.get("floor") or {}).get("times"), 1, 2),
                    number(r["graph_bytes"], 1e-6, 1),
                    number(r["peak_bytes"], 1e-6, 0),
                ]
            )
    return table


def above_floor(found: Content) -> list[str]:
    """What remains above the floor: a line for each graph, by layer type where that can be profiled."""
    lines = []
    for r in found["results"]:
        lowest = max(r["floor"]["compute_seconds"], r["floor"]["memory_seconds"])
        if r.get("profile"):
            parts = ", ".join(f"{e['kind']} {1e3 * e['seconds']:.0f} ms" for e in r["profile"]["entries"])
            known = f"profiled apart: {parts}"
        else:
            known = found["delegation"][case_name(r)]
        times = f"{1e3 * r['rtf'] * r['hop_seconds']:.0f} ms for a floor of {1e3 * lowest:.0f} ms"
        lines.append(f"{case_name(r)}: {times}; {known}.")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(NAME, (__doc__ or "").partition(":")[0] + ".", f"  {NAME} --threads 2 -o htdemucs.json\n")
    parser.add_argument("--threads", type=positive_int, default=2, help="of every runtime, PyTorch too (default: 2)")
    parser.add_argument("--seconds", type=positive_float, default=15.0, help="measuring time of each (default: 15)")
    parser.add_argument("--launches", type=positive_int, default=2, help="of each process (default: 2)")
    parser.add_argument("--folder", type=Path, default=Path("build/htdemucs"), help="of the exported bundles")
    this = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86"
    parser.add_argument("--target", choices=("arm64", "x86"), default=this, help="of int8 (default: this machine)")
    parser.add_argument("--segment", type=positive_float, default=7.8, metavar="SECONDS", help="default: 7.8")
    parser.add_argument("--export", action="store_true", help="make the bundles and measure nothing")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the report as JSON")
    args = parser.parse_args(argv)

    def body() -> None:
        enter_workbench(NAME)
        from edge.models.htdemucs import HTDemucsConfig

        config = HTDemucsConfig(segment=Fraction(str(args.segment)))
        if args.export:
            print(*(bundle.path for bundle in export(args.folder, config, args.target)), sep="\n")
            return
        found = run(args.folder, args.threads, args.seconds, args.launches, config, args.target)
        if args.output:
            write_json(found, args.output)
        print(columns(rows(found)))
        print("\n".join(["", *above_floor(found), *notes(found)[-1:]]))

    return run_command(NAME, body)


if __name__ == "__main__":
    sys.exit(main())
