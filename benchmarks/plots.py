"""Plots as SVG by matplotlib: bars with a spread, ranges against a limit, a scatter, stacked shares.

Colours are variables of the page's style sheet, so that one drawing serves light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from edge.benchmarks.page import COLORS

INK, SOFT, LINE, PAPER, LIMIT = "#1c2330", "#5b6472", "#d9dde4", "#fffffe", "#b3261e"
SERIES = ("#3b6fb6", "#d9822b", "#4c9f70", "#8e6bb8", "#c2566e", "#7a8794", "#3fa3ad", "#a78b3d")
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", PAPER: "paper", LIMIT: "limit"}
_VARIABLES |= {color: f"s{i}" for i, color in enumerate(SERIES)}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "stem-edge",  # the same figures give the same text
    "font.size": 12,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}
_STYLE |= {f"{axis}tick.{kind}.size": 0 for axis in "xy" for kind in ("major", "minor")}
_PLACES = [
    (side * 8, 12 * step, "left" if side > 0 else "right") for step in (0, 1, -1, 2, -2, 3, -3) for side in (1, -1)
]


@dataclass(frozen=True)
class Bar:
    """One value with the ends of its spread."""

    label: str
    value: float
    low: float
    high: float
    series: int
    text: str


@dataclass(frozen=True)
class Range:
    """A distribution: a box from `low` to `high`, its median, and its longest value."""

    label: str
    low: float
    median: float
    high: float
    longest: float
    series: int


@dataclass(frozen=True)
class Point:
    """One case of a scatter plot."""

    label: str
    x: float
    y: float
    series: int
    filled: bool


@dataclass(frozen=True)
class Stack:
    """Shares that add up to 1, by series."""

    label: str
    shares: Sequence[tuple[int, str, float]]


def style() -> AbstractContextManager[None]:
    """Within it figures are made and written."""
    return rc_context(_STYLE)


def bars(rows: Sequence[Bar], axis: str, limit: float | None = None) -> str:
    """Horizontal bars from zero; a dashed line at `limit` where it lies within reach."""
    with style():
        axes = _rows(rows, axis)
        top = max(row.high for row in rows)
        for y, row in enumerate(rows):
            axes.barh(y, row.value, 0.6, color=SERIES[row.series])
            if row.low < row.high:
                axes.hlines(y, row.low, row.high, color=INK, gid=f"whisker-{y}")
            end = max(row.value, row.high)
            axes.annotate(row.text, (end, y), (6, 0), textcoords="offset points", va="center")
        if limit is not None and limit < 2.5 * top:
            axes.axvline(limit, color=LIMIT, linestyle="--", gid="limit")
            top = max(top, limit)
        axes.set_xlim(0, 1.12 * top)
        return inline(axes)


def ranges(rows: Sequence[Range], axis: str, limit: float) -> str:
    """Boxes on a logarithmic axis against a limit."""
    with style():
        axes = _rows(rows, axis)
        logarithmic(axes, "x")
        for y, row in enumerate(rows):
            axes.hlines(y, row.high, row.longest, color=INK)
            axes.barh(y, row.high - row.low, 0.5, left=row.low, color=SERIES[row.series])
            axes.vlines(row.median, y - 0.3, y + 0.3, color=PAPER, linewidth=2)
            axes.scatter(row.longest, y, 16, color=SERIES[row.series], zorder=3)
        axes.axvline(limit, color=LIMIT, linestyle="--", gid="limit")
        return inline(axes)


def scatter(points: Sequence[Point], x_axis: str, y_axis: str) -> str:
    """Both axes logarithmic; hollow points are those not `filled`."""
    with style():
        axes = _figure(340).subplots()
        for p in points:
            axes.scatter(p.x, p.y, 36, facecolor=SERIES[p.series] if p.filled else PAPER, edgecolor=SERIES[p.series])
        logarithmic(axes, "x", "y")
        axes.set(xlabel=x_axis, ylabel=y_axis)
        axes.margins(0.12)
        place_labels(axes, [(p.x, p.y, p.label) for p in points])
        return inline(axes)


def stacks(rows: Sequence[Stack]) -> str:
    """Bars of equal length, divided by series."""
    with style():
        axes = _rows(rows, "share of the time")
        for y, row in enumerate(rows):
            start = 0.0
            for series, _, share in row.shares:
                axes.barh(y, share, 0.7, left=start, color=SERIES[series], edgecolor=PAPER)
                if share > 0.05:
                    axes.text(start + share / 2, y, f"{share:.0%}", color=PAPER, ha="center", va="center")
                start += share
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter("{x:.0%}")
        return inline(axes)


def logarithmic(axes: Axes, *names: str) -> None:
    """The axes "x" and "y": numbers at 1, 2 and 5 times powers of ten, or at the powers where there are many."""
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def place_labels(axes: Axes, labels: Sequence[tuple[float, float, str]]) -> None:
    """A text beside each point (x, y) where it covers nothing, none where that is nowhere; fixes the layout."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    centres = axes.transData.transform([(x, y) for x, y, _ in labels])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    for x, y, label in labels:
        for dx, dy, side in _PLACES:
            note = axes.annotate(
                label, (x, y), (dx, dy), textcoords="offset points", ha=side, va="center", fontsize="small"
            )
            box = note.get_window_extent()
            inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and axes.bbox.containsy(box.y0)
            if inside and axes.bbox.containsy(box.y1) and not box.count_overlaps(taken):
                taken.append(box)
                break
            note.remove()


def inline(axes: Axes) -> str:
    """The drawing for a page, without references: each mark is drawn where it stands."""
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg(axes.get_figure(root=True)))
    marks = dict(re.findall(r'<path id="(\w+)" d="([^"]*)"', text))
    use = re.compile(r'<use xlink:href="#(\w+)" x="([^"]+)" y="([^"]+)"')
    return use.sub(lambda m: f'<path d="{marks[m[1]]}" transform="translate({m[2]} {m[3]})"', text)


def svg_file(figure: Figure, title: str) -> str:
    """The drawing with its own colours, light and dark."""
    head, body = svg(figure).split(">", 1)
    return f"{head}><title>{title}</title><style>{COLORS}</style>{body}"


def svg(figure: Figure | None) -> str:
    """The drawing, its colours as variables of CSS."""
    assert figure is not None
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    text = buffer.getvalue()
    for color, name in _VARIABLES.items():
        text = text.replace(color, f"var(--{name})")
    return text[text.index("<svg") :]


def _figure(height: float) -> Figure:
    """As wide as the page."""
    return Figure((760 / 72, height / 72), layout="constrained")


def _rows(rows: Sequence[Bar | Range | Stack], axis: str) -> Axes:
    """A row for each, the first on top."""
    axes = _figure(26 * len(rows) + 50).subplots()
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(axis)
    axes.grid(axis="y", visible=False)
    return axes
