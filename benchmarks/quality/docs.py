"""Puts the tables of reports into a document: python -m edge.benchmarks.quality.docs docs/evaluation.md REPORT..."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edge.atomic import atomic_path
from edge.benchmarks.quality.report import markdown
from edge.errors import InputError

BEGIN, END = "<!-- results: made by python -m edge.benchmarks.quality.docs -->", "<!-- end of the results -->"


def with_results(document: str, reports: Sequence[Path]) -> str:
    """`document` with the tables of `reports` between the marks; InputError where the marks are missing."""
    if BEGIN not in document or END not in document:
        raise InputError(f"the marks {BEGIN} and {END} are missing")
    parts = []
    for path in reports:
        content = json.loads(path.read_text())
        parts.append(f"### {content['model']}: {content['data']}\n\n{markdown(content)}")
    return f"{document.split(BEGIN)[0]}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{document.split(END)[1]}"


if __name__ == "__main__":
    target, *given = map(Path, sys.argv[1:])
    with atomic_path(target) as temporary:
        temporary.write_text(with_results(target.read_text(), given))
