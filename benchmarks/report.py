"""A benchmark report: as the JSON of report.schema.json, from it, and as tables for a terminal."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge import __version__
from edge.atomic import atomic_path
from edge.benchmarks.machine import fingerprint, machine_line, processor_ticks, steal_share, temperatures
from edge.benchmarks.runner import Report, Result
from edge.benchmarks.stats import paired_ratio
from edge.benchmarks.verdict import verdicts
from edge.errors import EdgeError, InputError

SCHEMA_VERSION = "1.0"
REQUIRED = ("tool", "machine", "settings", "results", "failures")

Content = dict[str, Any]


class Watch:
    """The machine over the time of a measurement: make one before, ask for `machine()` after."""

    def __init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        self._machine = fingerprint()
        self._thermal, self._ticks = temperatures(), processor_ticks()

    def machine(self) -> dict[str, Any]:
        """`machine` of report.schema.json."""
        thermal = {"start": self._thermal, "end": temperatures()} if self._thermal else None
        return self._machine | {"thermal": thermal, "steal_share": steal_share(self._ticks, processor_ticks())}


def content(watch: Watch, report: Report, tool: str, command: Sequence[str], **settings: Any) -> Content:
    """The report as JSON content; `settings` are those of the schema that the report does not know."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": tool, "version": __version__, "command": " ".join(command), "started": watch.started},
        "machine": watch.machine(),
        "settings": {"rounds": report.rounds, "order": "random"} | settings,
        "results": [dataclasses.asdict(result) for result in report.results],
        "peaks": [dataclasses.asdict(peak) for peak in report.peaks],
        "failures": [
            {"bundle": f.bundle, "backend": f.backend, "threads": f.threads, "error": f.error} for f in report.failures
        ],
    }


def compare_to(results: Sequence[Result], baseline: str) -> None:
    """Fill in each result's ratio to `baseline`, BUNDLE[:BACKEND[:THREADS]] (what is left out is as in the result).

    Raises InputError where no result is that of the baseline's bundle.
    """
    bundle, _, rest = baseline.partition(":")
    backend, _, threads = rest.partition(":")
    same_bundle = [r for r in results if _same_place(r.bundle, bundle)]
    if not same_bundle:
        raise InputError(f"--baseline {baseline}: not among the bundles that were measured")
    for result in results:
        wanted = (backend or result.backend, threads or str(result.threads))
        match = next((r for r in same_bundle if (r.backend, str(r.threads)) == wanted), None)
        result.ratio = paired_ratio(result.rtf_rounds, match.rtf_rounds) if match else None


def _same_place(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def write_json(content: Content, target: Path | None) -> None:
    """To `target`, or to stdout where it is None."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if target is None:
        sys.stdout.write(text)
        return
    if target.is_dir():
        raise InputError(f"{target} is a folder, not a file for the report")
    with atomic_path(target) as temporary:
        temporary.write_text(text)


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds; InputError where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error})") from error


def read_as(format: str, path: Path, command: str) -> dict[str, Any]:
    """What `command` wrote to a JSON file that says `format`; InputError where the file is something else."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != format:
        raise InputError(f"{path} was not written by {command}")
    return content


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Each to the file of its name, whole or not at all."""
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def load(path: Path) -> Content:
    """Read a report; InputError where it is none, or of another major version."""
    found = read_json(path)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, str) or any(not isinstance(found.get(key), dict | list) for key in REQUIRED):
        raise InputError(f"{path} is no report of edge-bench (see report.schema.json)")
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise InputError(f"{path}: report version {version} is not supported, this stem-edge reads {SCHEMA_VERSION}")
    return found


def labels(results: Sequence[dict[str, Any]]) -> list[str]:
    """What to call each result's bundle: its folder's name, or the path where two have the same."""
    paths = {result["bundle"] for result in results}
    names = [Path(path).name.removesuffix(".edge") for path in paths]
    short = len(set(names)) == len(names)
    return [Path(r["bundle"]).name.removesuffix(".edge") if short else r["bundle"] for r in results]


def text(content: Content) -> str:
    """Two tables, speed and cost, with what they were measured on."""
    results = content["results"]
    names = labels(results)
    speed = [["bundle", "backend", "thr", "RTF", "spread", "ratio", "(95 %)"]]
    speed[0] += ["p50 ms", "p95 ms", "p99 ms", "max ms", "hop ms", "missed"]
    cost = [["bundle", "backend", "thr", "precision", "file MB", "weights MB", "MB/s read", "load ms", "first ms"]]
    cost[0] += ["peak MB", "x of floor", "host %", "native ms", "golden dB"]
    for name, r in zip(names, results, strict=True):
        case = [name, r["backend"], str(r["threads"])]
        times = r["hop_time"]
        speed.append(
            [
                *case,
                f"{r['rtf']:.4f}",
                f"{min(r['rtf_rounds']):.4f}-{max(r['rtf_rounds']):.4f}",
                *ratio_cells(r.get("ratio")),
                *(f"{1e3 * times[key]:.2f}" for key in ("p50", "p95", "p99", "max")),
                f"{1e3 * r['hop_seconds']:.1f}",
                f"{r['deadline_misses']}/{r['hops']}",
            ]
        )
        cost.append(
            [
                *case,
                r["precision"] + (f" p{r['prune_ratio']:g}" if r["prune_ratio"] else ""),
                *cost_cells(r),
                number(r.get("native_seconds"), 1e3, 2),
                f"{r['golden_snr_db']:.0f}",
            ]
        )
    parts = [columns(speed), columns(cost)]
    if memory := memory_rows(names, results):
        parts.append(columns(memory))
    parts += [profile_text(name, r) for name, r in zip(names, results, strict=True) if r.get("profile")]
    parts += [graph_memory_text(name, r) for name, r in zip(names, results, strict=True) if r.get("graph_memory")]
    return "\n\n".join([*parts, "\n".join(notes(content)), "\n".join(verdicts(names, results))])


def memory_rows(names: Sequence[str], results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Header and cells in MB, of the results whose memory is known; none where there are none."""
    keys = ("before_bytes", "load_bytes", "held_bytes", "peak_bytes")
    rows = [
        [
            name,
            r["backend"],
            str(r["threads"]),
            *(number(r["memory"][key], 1e-6, 0) for key in keys),
            number(r["memory"]["peak_bytes"] - r["memory"]["before_bytes"], 1e-6, 0),
        ]
        for name, r in zip(names, results, strict=True)
        if r.get("memory")
    ]
    header = ["memory, MB", "backend", "thr", "before the graph", "loading", "loaded", "peak", "of the graph"]
    return [header, *rows] if rows else []


def notes(content: Content) -> list[str]:
    """What the figures mean, and where they were taken."""
    settings, peaks = content["settings"], content.get("peaks", [])
    lines = ["RTF: time of a run / the audio that it advances by, median; spread: of the rounds' medians."]
    if settings.get("baseline"):
        lines.append(
            f"ratio: time relative to {settings['baseline']}, median of {settings['rounds']} rounds' own ratios."
        )
    if any(r.get("overhead_share") is not None for r in content["results"]):
        lines.append("host %: what the streaming session adds to the graph's run, in percent of the hop.")
    if any(r.get("native_seconds") is not None for r in content["results"]):
        lines.append("native ms: a hop through the C++ library (docs/native.md), the graph's run in it, median.")
    measured = [r["memory"] for r in content["results"] if r.get("memory")]
    if measured:
        also = ", torch, which the executorch package brings," if any(m["torch"] for m in measured) else ""
        lines.append(f"memory: resident, of a process of its own with Python, NumPy, the runtime{also} and the graph.")
    for backend, threads in dict.fromkeys((p["backend"], p["threads"]) for p in peaks):
        rates = [
            f"{max(p[key] for p in own) / 1e9:.0f} {unit}"
            for key, unit, precision in (
                ("macs_per_second", "GMAC/s fp32", "fp32"),
                ("macs_per_second", "GMAC/s int8", "int8"),
                ("bytes_per_second", "GB/s", "fp32"),
            )
            if (
                own := [
                    p
                    for p in peaks
                    if (p["backend"], p["threads"]) == (backend, threads) and p[key] and p["precision"] == precision
                ]
            )
        ]
        lines.append(f"floor of {backend}, {threads} thread(s): {', '.join(rates)} at most.")
    machine = content["machine"]
    if (machine["load_average"] or 0) > machine["processors"] / 2:
        lines.append(
            f"The machine was busy when this began (load {machine['load_average']} on {machine['processors']} "
            "processors): times of long runs, and ratios of long to short ones, may include waiting for a processor."
        )
    threads = ", ".join(map(str, settings["threads"]))
    return [*lines, f"Measured on {machine_line(content['machine'])}, {threads} thread(s)."]


def profile_text(name: str, result: dict[str, Any]) -> str:
    """The layer types of one result as a table."""
    rows = [[f"{name} {result['backend']} {result['threads']}", "ms a run", "%", "calls", "most of it"]]
    for entry in result["profile"]["entries"]:
        rows.append(
            [
                entry["kind"],
                number(entry["seconds"], 1e3, 3),
                number(entry["share"], 100, 1),
                number(entry["calls"], 1, 0),
                ", ".join(list(entry["operators"])[:3]),
            ]
        )
    return columns(rows, left=(0, 4))


def graph_memory_text(name: str, result: dict[str, Any]) -> str:
    """Where the memory of one result goes: a sentence, and where the runtime tells them, the layer types."""
    memory, process = result["graph_memory"], result.get("memory")

    def mb(size: float) -> str:
        return f"{size / 1e6:.{1 if size < 1e8 else 0}f} MB"

    if memory["used_bytes"] is None:  # planned ahead
        told = [
            f"{mb(memory['rest_bytes'])} of weights in the program",
            f"{mb(memory['reserved_bytes'])} planned for activations between its subgraphs",
            "what XNNPACK packs and allocates inside them is told nowhere",
        ]
    else:
        told = [
            f"{mb(memory['rest_bytes'])} of the arena in use between runs",
            f"{mb(memory['used_bytes'])} at most during one",
            f"{mb(memory['reserved_bytes'])} set aside for it, resident as far as it was touched",
        ]
    if process:
        graph = process["peak_bytes"] - process["before_bytes"]
        told.append(f"the process holds {mb(process['before_bytes'])} before the graph, {mb(graph)} more at its peak")
    lines = [f"memory of {name} {result['backend']} {result['threads']}:", *(f"  {line}" for line in told)]
    if memory["entries"]:
        rows = [["in use while it runs", "MB", "at its most in"]]
        rows += [[e["kind"], number(e["bytes"], 1e-6, 2), e["layer"]] for e in memory["entries"]]
        lines.append(columns(rows, left=(0, 2)))
    return "\n".join(lines)


def ratio_cells(ratio: dict[str, float] | None) -> list[str]:
    """A ratio and its confidence interval."""
    return [f"{ratio['value']:.3f}", f"{ratio['low']:.3f}-{ratio['high']:.3f}"] if ratio else ["", ""]


def cost_cells(result: Mapping[str, Any]) -> list[str]:
    """Sizes in MB, load and first run in ms, peak MB, times of the floor, host overhead in percent of the hop."""
    return [
        number(result["graph_bytes"], 1e-6, 2),
        number(result["weight_bytes"], 1e-6, 2),
        number(result["weight_bytes_per_second"], 1e-6, 1),
        number(result["load_seconds"], 1e3, 0),
        number(result["first_seconds"], 1e3, 2),
        number(result["peak_bytes"], 1e-6, 0),
        number((result.get("floor") or {}).get("times"), 1, 1),
        number(result.get("overhead_share"), 100, 2),
    ]


def number(value: float | None, scale: float, digits: int) -> str:
    """A cell; empty where unknown."""
    return "" if value is None else f"{scale * value:.{digits}f}"


def columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0, 1)) -> str:
    """Aligned text columns, numbers to the right; columns that are empty but for their title are left out."""
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = [max(len(row[i]) for row in rows) for i in used]
    lines = [
        "  ".join(row[i].ljust(w) if i in left else row[i].rjust(w) for i, w in zip(used, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def raise_failures(report: Report) -> None:
    """EdgeError for the first failure: for measurements that are worth nothing unless complete."""
    for failure in report.failures:
        raise EdgeError(failure.error)
