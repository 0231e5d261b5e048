"""The demo's report as a table, in a terminal and a document: python -m edge.benchmarks.readme REPORT.json README.md"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from edge.benchmarks import tables
from edge.benchmarks.demo import DemoReport, GraphRow, load_report
from edge.benchmarks.documents import Marks, write_text
from edge.benchmarks.machine import machine_line
from edge.console import run_command

NAME = "python -m edge.benchmarks.readme"
MARKS = Marks("<!-- demo table: made by `make readme-table` -->", "<!-- end of the demo table -->")
SUMMARY_MARKS = Marks("<!-- summary: made by `make readme-table` -->", "<!-- end of the summary -->")
_MEASURES = [
    ("parameters, M", False, lambda row: f"{row.parameters / 1e6:.2f}"),
    ("MMAC per s of audio", False, lambda row: f"{row.macs_per_second / 1e6:.0f}"),
    ("weights, MB", False, lambda row: f"{row.weight_bytes / 1e6:.2f}"),
    ("file, MB", False, lambda row: f"{row.file_bytes / 1e6:.2f}"),
    ("{metric}, dB", True, lambda row: f"{row.quality_db:.2f}"),
    ("RTF", False, lambda row: f"{row.rtf:.4f}"),
]


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
    heading = list(itertools.zip_longest(*titles, fillvalue=""))
    lines = tables.columns([*heading, *body]).splitlines()
    rule = "-" * max(map(len, lines))
    out = lines[: len(heading)]
    for cells, line in zip(body, lines[len(heading) :], strict=True):
        out += ([rule] if cells[0] else []) + [line]
    return "\n".join([*out, rule, *notes(report)])


def markdown(report: DemoReport) -> str:
    """For the README."""
    return "\n".join([tables.markdown(rows(report), 2), "", *(f"{note}  " for note in notes(report))]).strip()


def summary(report: DemoReport) -> str:
    """What ships, a row a graph, for the README's first screen."""
    table = [["bundle", "runtime", "file, MB", "RTF, one thread", "unprocessed -> out"]]
    for model in report.models:
        for row in (row for row in model.rows if row.stage == "after"):
            out = f"{model.metric.split()[0]} {model.input_db:.2f} -> {row.quality_db:.2f} dB"
            size, rtf = f"{row.file_bytes / 1e6:.2f}", f"{row.rtf:.3f}"
            table.append([f"`{model.name}`", f"{row.format}, {row.precision}", size, rtf, out])
    return tables.markdown(table, 2)


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


def _main(path: Path, document: Path) -> None:
    report = load_report(path)
    written = MARKS.replaced(document.read_text(), markdown(report))
    write_text(document, SUMMARY_MARKS.replaced(written, summary(report)))


if __name__ == "__main__":
    sys.exit(run_command(NAME, lambda: _main(*map(Path, sys.argv[1:]))))
