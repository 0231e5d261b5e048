"""Several reports side by side: what each device makes of the same bundle, and its time relative to the first."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from edge.benchmarks import page
from edge.benchmarks.machine import machine_line
from edge.benchmarks.report import Content, labels
from edge.benchmarks.tables import columns, html, number
from edge.errors import InputError


def compare(reports: dict[str, Content]) -> Content:
    """`{"devices": [...], "rows": [...]}` of the reports by file name.

    A row is one model, precision, pruning, backend and threads, with one entry a device: rtf, p95 and peak memory in
    SI units, missed deadlines, and `ratio`, its RTF relative to the first device that has the row; None where a device
    has none. Raises InputError where nothing was measured at all.
    """
    found: dict[tuple, dict[str, Any]] = {}
    for file, report in reports.items():
        for name, r in zip(labels(report["results"]), report["results"], strict=True):
            key = (r["name"], r["precision"], r["prune_ratio"], r["backend"], r["threads"])
            row = found.setdefault(key, {"bundle": name, "hop_seconds": r["hop_seconds"], "devices": {}})
            row["devices"][file] = {
                "rtf": r["rtf"],
                "rtf_low": min(r["rtf_rounds"]),
                "rtf_high": max(r["rtf_rounds"]),
                "p95_seconds": r["hop_time"]["p95"],
                "missed_share": r["deadline_misses"] / r["hops"],
                "peak_bytes": r["peak_bytes"],
            }
    if not found:
        raise InputError(f"{', '.join(reports)}: no results in them")
    fields = ("name", "precision", "prune_ratio", "backend", "threads")
    rows = []
    for key, row in found.items():
        first = next(iter(row["devices"].values()))["rtf"]
        devices = [row["devices"].get(file) for file in reports]
        for device in devices:
            if device is not None:
                device["ratio"] = device["rtf"] / first
        rows.append(dict(zip(fields, key, strict=True)) | row | {"devices": devices})
    names = device_names(reports)
    devices = [
        {"device": name, "report": file, "machine": report["machine"], "tool": report["tool"]}
        for name, (file, report) in zip(names, reports.items(), strict=True)
    ]
    return {"devices": devices, "rows": rows}


def device_names(reports: dict[str, Content]) -> list[str]:
    """The device's model or processor; with the file's name where two are alike."""
    names = [report["machine"].get("device_model") or report["machine"]["processor"] for report in reports.values()]
    if len(set(names)) < len(names):
        names = [f"{name} ({Path(file).stem})" for name, file in zip(names, reports, strict=True)]
    return names


def table(content: Content) -> list[list[str]]:
    """Header and cells: one row a model, backend and threads; four columns a device."""
    letters = [chr(ord("A") + i) for i in range(len(content["devices"]))]
    header = ["model", "precision", "backend", "thr"]
    header += [f"{letter} {what}" for letter in letters for what in ("RTF", "ratio", "p95 ms", "missed %", "peak MB")]
    rows = [header]
    for row in content["rows"]:
        precision = row["precision"] + (f" p{row['prune_ratio']:g}" if row["prune_ratio"] else "")
        cells = [row["name"], precision, row["backend"], str(row["threads"])]
        for device in row["devices"]:
            d = device or {}
            cells += [
                number(d.get("rtf"), 1, 4),
                number(d.get("ratio"), 1, 2),
                number(d.get("p95_seconds"), 1e3, 2),
                number(d.get("missed_share"), 100, 1),
                number(d.get("peak_bytes"), 1e-6, 0),
            ]
        rows.append(cells)
    return rows


def text(content: Content) -> str:
    """For a terminal."""
    return "\n".join([columns(table(content), left=(0, 1, 2)), "", *notes(content)])


def notes(content: Content) -> list[str]:
    """Which letter is which device."""
    lines = [
        f"{chr(ord('A') + i)}: {d['device']}, {d['report']}, {d['tool']['started']}: {machine_line(d['machine'])}"
        for i, d in enumerate(content["devices"])
    ]
    return [*lines, "ratio: RTF relative to the first device of the row (above 1: slower)."]


def write_page(content: Content, target: Path) -> None:
    """The comparison as one self-contained page."""
    devices = [d["device"] for d in content["devices"]]

    def speeds(plots: ModuleType) -> list[str]:
        bars = [
            plots.Bar(
                f"{row['bundle']} {row['backend']}, {row['threads']} thr",
                *(device[key] for key in ("rtf", "rtf_low", "rtf_high")),
                number % 8,
                f"{device['rtf']:.4f} (x{device['ratio']:.2f})",
            )
            for row in content["rows"]
            for number, device in enumerate(row["devices"])
            if device is not None
        ]
        key = page.legend([(i % 8, name) for i, name in enumerate(devices)])
        return ["<h2>Real-time factor</h2>", key, plots.bars(bars, "real-time factor", 1.0)]

    figures = ["<h2>All figures</h2>", html(table(content), (0, 1, 2))]
    page.write_html("edge-bench compare", [*map(page.soft, notes(content)), *page.drawn(speeds), *figures], target)
