"""The demo's report as a table: plain text for a terminal, Markdown for the README."""

from __future__ import annotations

from typing import Any

from edge.benchmarks.demo import DemoReport, GraphRow
from edge.benchmarks.machine import machine_line


def rows(report: DemoReport) -> list[list[str]]:
    """Header and cells: one row a measure and model, columns unprocessed, before and after by format."""
    columns = list(dict.fromkeys((row.stage, row.format) for model in report.models for row in model.rows))
    header = ["model", "measure", "unprocessed"]
    header += [f"{stage}, {_label(report, stage, format)}, {format}" for stage, format in columns]
    table = [header]
    for model in report.models:
        graphs = {(row.stage, row.format): row for row in model.rows}
        for number, (measure, unprocessed, cell) in enumerate(_MEASURES):
            table.append(
                [
                    model.name if number == 0 else "",
                    measure.format(metric=model.metric.split()[0]),
                    f"{model.input_db:.2f}" if unprocessed else "",
                    *(cell(graphs[column]) if column in graphs else "not run" for column in columns),
                ]
            )
    return table


_MEASURES = [
    ("parameters, M", False, lambda row: f"{row.parameters / 1e6:.2f}"),
    ("MMAC per s of audio", False, lambda row: f"{row.macs_per_second / 1e6:.0f}"),
    ("weights, MB", False, lambda row: f"{row.weight_bytes / 1e6:.2f}"),
    ("file, MB", False, lambda row: f"{row.file_bytes / 1e6:.2f}"),
    ("{metric}, dB", True, lambda row: f"{row.quality_db:.2f}"),
    ("RTF", False, lambda row: f"{row.rtf:.4f}"),
]


def _label(report: DemoReport, stage: str, format: str) -> str:
    """Of a column: each model may have another precision there."""
    found: list[GraphRow] = [r for m in report.models for r in m.rows if (r.stage, r.format) == (stage, format)]
    precision = " or ".join(dict.fromkeys(row.precision for row in found))
    return f"{precision} pruned {found[0].prune_ratio:g}" if found[0].prune_ratio else precision


def text(report: DemoReport) -> str:
    """For a terminal."""
    header, *body = rows(report)
    # Column titles in lines of their own: "before, fp32, onnx" side by side would be wider than a terminal.
    titles = [[part.strip() for part in cell.split(",")] for cell in header]
    depth = max(map(len, titles))
    lines = [[t[i] if i < len(t) else "" for t in titles] for i in range(depth)] + body
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        aligned = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(aligned).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    out = [line(cells) for cells in lines[:depth]]
    for cells in body:
        out += ([rule] if cells[0] else []) + [line(cells)]
    return "\n".join([*out, rule, *notes(report)])


def markdown(report: DemoReport) -> str:
    """For the README."""
    header, *body = rows(report)
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)], *body]
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in lines] + ["", *(f"{n}  " for n in notes(report))])


def notes(report: DemoReport) -> list[str]:
    """What the figures mean, and where they were taken."""
    lines = [f"{model.name}: {model.metric}; {_recovered(model.recovery)}." for model in report.models]
    lines.append("RTF: time of one hop / its audio, median; the graphs took turns (`edge-bench`).")
    return [*lines, f"Measured on {machine_line(report.machine)}, {report.threads} thread(s)."]


def _recovered(recovery: dict[str, Any] | None) -> str:
    if not recovery:
        return "not trained after pruning"
    minutes = recovery.get("minutes")
    return f"trained for {minutes:g} minutes after pruning" if minutes else "trained after pruning"
