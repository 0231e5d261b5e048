"""Puts the table of a demo report into a Markdown file: python -m edge.benchmarks.readme REPORT.json README.md"""

from __future__ import annotations

import sys
from pathlib import Path

from edge.atomic import atomic_path
from edge.benchmarks.demo import load_report
from edge.benchmarks.tables import markdown
from edge.errors import InputError

BEGIN, END = "<!-- demo table: made by `make readme-table` -->", "<!-- end of the demo table -->"


def table_in(content: str) -> str:
    """The text between the two marks; InputError where they are missing."""
    if BEGIN not in content or END not in content:
        raise InputError(f"the marks {BEGIN} and {END} are missing")
    return content.split(BEGIN)[1].split(END)[0].strip()


def replace_table(content: str, table: str) -> str:
    """`content` with another table between the marks."""
    table_in(content)
    return f"{content.split(BEGIN)[0]}{BEGIN}\n{table.strip()}\n{END}{content.split(END)[1]}"


if __name__ == "__main__":
    report, readme = map(Path, sys.argv[1:])
    with atomic_path(readme) as temporary:
        temporary.write_text(replace_table(readme.read_text(), markdown(load_report(report))))
