"""A benchmark report as tables: each figure's cell, and what they mean, for a terminal, a page and the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge.benchmarks.machine import machine_line
from edge.benchmarks.report import Content, labels
from edge.benchmarks.tables import columns, number
from edge.benchmarks.verdict import verdicts

# By the title of the column, the cell of a result.
FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "backend": lambda r: r["backend"],
    "threads": lambda r: str(r["threads"]),
    "precision": lambda r: r["precision"] + (f" p{r['prune_ratio']:g}" if r["prune_ratio"] else ""),
    "RTF": lambda r: f"{r['rtf']:.4f}",
    "spread": lambda r: f"{min(r['rtf_rounds']):.4f}-{max(r['rtf_rounds']):.4f}",
    "ratio": lambda r: number((r.get("ratio") or {}).get("value"), 1, 3),
    "95 %": lambda r: "{low:.3f}-{high:.3f}".format(**r["ratio"]) if r.get("ratio") else "",
    "p50 ms": lambda r: number(r["hop_time"]["p50"], 1e3, 2),
    "p95 ms": lambda r: number(r["hop_time"]["p95"], 1e3, 2),
    "p99 ms": lambda r: number(r["hop_time"]["p99"], 1e3, 2),
    "max ms": lambda r: number(r["hop_time"]["max"], 1e3, 2),
    "hop ms": lambda r: number(r["hop_seconds"], 1e3, 1),
    "missed": lambda r: f"{r['deadline_misses']} of {r['hops']}",
    "file MB": lambda r: number(r["graph_bytes"], 1e-6, 2),
    "weights MB": lambda r: number(r["weight_bytes"], 1e-6, 2),
    "MB/s read": lambda r: number(r["weight_bytes_per_second"], 1e-6, 1),
    "load ms": lambda r: number(r["load_seconds"], 1e3, 0),
    "first ms": lambda r: number(r["first_seconds"], 1e3, 2),
    "peak MB": lambda r: number(r["peak_bytes"], 1e-6, 0),
    "x of floor": lambda r: number((r.get("floor") or {}).get("times"), 1, 1),
    "host % of hop": lambda r: number(r.get("overhead_share"), 100, 2),
    "host % of work": lambda r: number(r.get("overhead_share_of_work"), 100, 1),
    "native ms": lambda r: number(r.get("native_seconds"), 1e3, 2),
    "golden dB": lambda r: number(r["golden_snr_db"], 1, 0),
    "before the graph": lambda r: _memory(r, "before_bytes"),
    "loading": lambda r: _memory(r, "load_bytes"),
    "loaded": lambda r: _memory(r, "held_bytes"),
    "peak": lambda r: _memory(r, "peak_bytes"),
    "of the graph": lambda r: _memory(r, "peak_bytes", "before_bytes"),
}
PROFILE = ("ms a run", "%", "calls", "most of it, ms")
CASE = ("backend", "threads")
TIMES = ("p50 ms", "p95 ms", "p99 ms", "max ms")
MEMORY = ("before the graph", "loading", "loaded", "peak", "of the graph")
COSTS = ("file MB", "weights MB", "MB/s read", "load ms", "first ms", "peak MB", "x of floor", "host % of hop")


def _memory(result: Mapping[str, Any], key: str, less: str | None = None) -> str:
    """In MB, where it is known."""
    told = result.get("memory")
    return number(told[key] - (told[less] if less else 0), 1e-6, 0) if told else ""


def figures(results: Sequence[Mapping[str, Any]], *titles: str) -> list[list[str]]:
    """Header and cells: the bundle and the figures of these titles."""
    cells = [[name, *(FIGURES[title](r) for title in titles)] for name, r in zip(labels(results), results, strict=True)]
    return [["bundle", *titles], *cells]


def text(content: Content) -> str:
    """Two tables, speed and cost, with what they were measured on."""
    results = content["results"]
    names = labels(results)
    speed = figures(results, *CASE, "RTF", "spread", "ratio", "95 %", *TIMES, "hop ms", "missed")
    cost = figures(results, *CASE, "precision", *COSTS, "native ms", "golden dB")
    parts = [columns(speed), columns(cost)]
    if any(r.get("memory") for r in results):
        memory = figures(results, *CASE, *MEMORY)
        parts.append(columns([["memory, MB", *memory[0][1:]], *memory[1:]]))
    parts += [profile_text(name, r) for name, r in zip(names, results, strict=True) if r.get("profile")]
    parts += [graph_memory_text(name, r) for name, r in zip(names, results, strict=True) if r.get("graph_memory")]
    return "\n\n".join([*parts, "\n".join(notes(content)), "\n".join(verdicts(names, results))])


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
    for case in dict.fromkeys((p["backend"], p["threads"]) for p in peaks):
        best: dict[str, float] = {}
        for p in (p for p in peaks if (p["backend"], p["threads"]) == case):
            unit = f"GMAC/s {p['precision']}" if p["macs_per_second"] else "GB/s"
            best[unit] = max(best.get(unit, 0.0), p["macs_per_second"] or p["bytes_per_second"])
        rates = ", ".join(f"{rate / 1e9:.0f} {unit}" for unit, rate in best.items())
        lines.append(f"floor of {case[0]}, {case[1]} thread(s): {rates} at most.")
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
    header = [f"{name} {result['backend']} {result['threads']}", *PROFILE]
    return columns([header, *profile_rows(result["profile"])], left=(0, 4))


def profile_rows(profile: Mapping[str, Any]) -> list[list[str]]:
    """Cells of the layer types, the longest first, with their three longest operators."""
    return [
        [
            entry["kind"],
            number(entry["seconds"], 1e3, 3),
            number(entry["share"], 100, 1),
            number(entry["calls"], 1, 0),
            ", ".join(f"{name} {1e3 * seconds:.2f}" for name, seconds in list(entry["operators"].items())[:3]),
        ]
        for entry in profile["entries"]
    ]


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
