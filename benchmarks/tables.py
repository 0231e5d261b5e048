"""Tables as aligned text, Markdown and HTML: rows of cells, the first row the header."""

from __future__ import annotations

from collections.abc import Container, Sequence
from html import escape

Rows = Sequence[Sequence[str]]


def number(value: float | None, scale: float, digits: int) -> str:
    """A cell; empty where unknown."""
    return "" if value is None else f"{scale * value:.{digits}f}"


def columns(rows: Rows, left: Container[int] = (0, 1)) -> str:
    """Aligned text columns, numbers to the right; columns that are empty but for their title are left out."""
    used = _used(rows)
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    lines = ["  ".join(f"{row[i]:{'<' if i in left else '>'}{widths[i]}}" for i in used) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Rows, left: int) -> str:
    """The first `left` columns are words."""
    rule = ["---" if i < left else "---:" for i in range(len(rows[0]))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def filled(rows: Rows) -> Rows:
    """Without the columns that are empty but for their title."""
    return [[row[i] for i in _used(rows)] for row in rows]


def html(rows: Rows, left: Container[int], strong: Container[str] = ()) -> str:
    """The columns `left` are words, aligned to the left; rows that begin with a cell of `strong` stand out."""

    def line(cells: Sequence[str], tag: str) -> str:
        kind = ' class="strong"' if tag == "td" and cells[0] in strong else ""
        made = (f"<{tag}{' class=t' * (i in left)}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells))
        return f"<tr{kind}>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows[1:])
    return f'<div class="wide"><table>{line(rows[0], "th")}{body}</table></div>'


def _used(rows: Rows) -> list[int]:
    return [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
