"""Puts results of edge-compress into a document:

    python -m edge.benchmarks.compression.docs docs/compression.md docs/results/compression_*.json

A report's picture is drawn beside its JSON, as an SVG of the same name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.benchmarks import tables
from edge.benchmarks.compression import baseline, report, sensitivity
from edge.benchmarks.compression.pareto import draw
from edge.benchmarks.compression.tables import baseline_markdown, markdown
from edge.benchmarks.documents import Marks, read_json, write_text
from edge.console import run_command
from edge.errors import InputError

NAME = "python -m edge.benchmarks.compression.docs"
MARKS = Marks(f"<!-- results: made by {NAME} -->", "<!-- end of the results -->")


def with_results(document: str, results: Sequence[Path]) -> str:
    """`document` with the tables of `results` between the marks.

    Raises InputError where the marks are missing or a file is no result of edge-compress.
    """
    parts = [section(path, read_json(path)) for path in results]
    return MARKS.replaced(document, "\n" + "\n\n".join(parts) + "\n")


def section(path: Path, content: Any) -> str:
    """One result as Markdown."""
    kind = content.get("format") if isinstance(content, dict) else None
    if kind == report.FORMAT:
        names = ", ".join(model["name"] for model in content["models"])
        picture = f"![Quality against cost of {names}](results/{path.stem}.svg)"
        return f"{markdown(content, '###')}\n\n{picture}"
    if kind == baseline.FORMAT:
        return f"### {content['model']}: recovered or trained from scratch\n\n{baseline_markdown(content)}"
    if kind == sensitivity.FORMAT:
        title = f"### {content['model']}: what int8 costs layer by layer, {content['backend']}"
        table = tables.markdown(tables.filled(sensitivity.rows(content)), 1)
        return "\n\n".join([title, table, "  \n".join(sensitivity.notes(content))])
    raise InputError(f"{path} is not a result of edge-compress")


def _main(document: Path, *results: Path) -> None:
    text = with_results(document.read_text(encoding="utf-8"), results)
    for path in results:
        content = read_json(path)
        if content["format"] == report.FORMAT:
            write_text(path.with_suffix(".svg"), draw(content))
    write_text(document, text)


if __name__ == "__main__":
    sys.exit(run_command(NAME, lambda: _main(*map(Path, sys.argv[1:]))))
