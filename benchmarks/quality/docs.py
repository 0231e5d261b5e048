"""Puts the tables of reports into a document: python -m edge.benchmarks.quality.docs docs/evaluation.md REPORT..."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edge.benchmarks.documents import Marks, read_json, write_text
from edge.benchmarks.quality.report import markdown
from edge.console import run_command

NAME = "python -m edge.benchmarks.quality.docs"
MARKS = Marks(f"<!-- results: made by {NAME} -->", "<!-- end of the results -->")


def with_results(document: str, reports: Sequence[Path]) -> str:
    """`document` with the tables of `reports` between the marks; InputError where the marks are missing."""
    contents = [read_json(path) for path in reports]
    parts = [f"### {content['model']}: {content['data']}\n\n{markdown(content)}" for content in contents]
    return MARKS.replaced(document, "\n" + "\n\n".join(parts) + "\n")


def _main(document: Path, *reports: Path) -> None:
    write_text(document, with_results(document.read_text(), reports))


if __name__ == "__main__":
    sys.exit(run_command(NAME, lambda: _main(*map(Path, sys.argv[1:]))))
