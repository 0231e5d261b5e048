"""Plots as inline SVG: bars with a spread, ranges against a limit, a scatter, stacked shares. Colours come from the
page's style sheet (classes s0, s1, ... for series), so that one drawing serves light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
_ROW, _TOP, _BOTTOM = 26, 8, 34
_CHARACTER = 7.0  # width of one in the 12-px font, roughly


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
    text: str


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


def bars(rows: Sequence[Bar], axis: str, limit: float | None = None) -> str:
    """Horizontal bars from zero; a dashed line at `limit` where it lies within reach."""
    left, right = _left(rows), 70
    top = max(row.high for row in rows)
    if limit is not None and limit < 2.5 * top:
        top = max(top, limit)
    ticks = _linear_ticks(top)
    top = max(top, ticks[-1])
    x = _scale(0, top, left, WIDTH - right)
    parts = [_grid(ticks, x, len(rows), axis)]
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number
        middle = y + _ROW / 2
        parts += [
            _row_label(row.label, left, middle),
            f'<rect class="s{row.series}" x="{x(0):.1f}" y="{y + 5}" width="{max(1, x(row.value) - x(0)):.1f}" '
            f'height="{_ROW - 10}" rx="2"><title>{escape(row.label)}: {escape(row.text)}</title></rect>',
            f'<text x="{x(max(row.value, row.high)) + 6:.1f}" y="{middle + 4}">{escape(row.text)}</text>',
        ]
        if row.low < row.high:
            ends = "".join(f"M{x(end):.1f} {middle - 4}v8" for end in (row.low, row.high))
            parts.append(f'<path class="whisker" d="M{x(row.low):.1f} {middle}H{x(row.high):.1f}{ends}"/>')
    if limit is not None and limit <= top:
        parts.append(_limit(x(limit), len(rows)))
    return _svg(parts, len(rows))


def ranges(rows: Sequence[Range], axis: str, limit: float) -> str:
    """Boxes on a logarithmic axis against a limit."""
    left, right = _left(rows), 24
    lowest = min(row.low for row in rows)
    highest = max(limit, *(row.longest for row in rows))
    ticks = _decades(lowest, highest)
    x = _log_scale(min(lowest, ticks[0]), max(highest, ticks[-1]), left, WIDTH - right)
    parts = [_grid(ticks, x, len(rows), axis), _limit(x(limit), len(rows))]
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number
        middle = y + _ROW / 2
        parts += [
            _row_label(row.label, left, middle),
            f"<g><title>{escape(row.label)}: {escape(row.text)}</title>"
            f'<path class="whisker" d="M{x(row.high):.1f} {middle}H{x(row.longest):.1f}"/>'
            f'<rect class="s{row.series}" x="{x(row.low):.1f}" y="{y + 6}" '
            f'width="{max(2, x(row.high) - x(row.low)):.1f}" height="{_ROW - 12}" rx="2"/>'
            f'<path class="median" d="M{x(row.median):.1f} {y + 4}v{_ROW - 8}"/>'
            f'<circle class="c{row.series}" cx="{x(row.longest):.1f}" cy="{middle}" r="3"/></g>',
        ]
    return _svg(parts, len(rows))


def scatter(points: Sequence[Point], x_axis: str, y_axis: str) -> str:
    """Both axes logarithmic; hollow points are those not `filled`."""
    left, right, height = 70, 30, 340
    floor = height - 44
    x_ticks = _decades(min(p.x for p in points), max(p.x for p in points))
    y_ticks = _decades(min(p.y for p in points), max(p.y for p in points))
    x = _log_scale(x_ticks[0], x_ticks[-1], left, WIDTH - right)
    y = _log_scale(y_ticks[0], y_ticks[-1], floor, 12)
    parts = [
        *(f'<path class="grid" d="M{x(t):.1f} 12V{floor}"/>' for t in x_ticks),
        *(f'<path class="grid" d="M{left} {y(t):.1f}H{WIDTH - right}"/>' for t in y_ticks),
        *(f'<text class="tick" x="{x(t):.1f}" y="{floor + 16}" text-anchor="middle">{t:g}</text>' for t in x_ticks),
        *(f'<text class="tick" x="{left - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>' for t in y_ticks),
        f'<text class="axis" x="{(left + WIDTH - right) / 2}" y="{height - 8}" text-anchor="middle">'
        f"{escape(x_axis)}</text>",
        f'<text class="axis" transform="translate(14 {floor / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_axis)}</text>",
    ]
    taken: list[tuple[float, float, float]] = []
    for p in sorted(points, key=lambda p: p.y):
        px, py, width = x(p.x), y(p.y), _CHARACTER * len(p.label)
        inside = px + 9 + width < WIDTH
        start = px + 9 if inside else px - 9 - width
        offsets = [sign * 13 * step for step in range(12) for sign in (1, -1)]
        heights = [py + 4 + offset for offset in offsets if 12 <= py + 4 + offset <= floor]
        free = (h for h in heights if not any(start < b and a < start + width and abs(h - c) < 13 for a, b, c in taken))
        label_y = next(free, heights[0] if heights else 12.0)
        taken.append((start, start + width, label_y))
        kind = "c" if p.filled else "o"
        anchor, at = ("start", px + 9) if inside else ("end", px - 9)
        parts += [
            f'<circle class="{kind}{p.series}" cx="{px:.1f}" cy="{py:.1f}" r="5"/>',
            f'<text x="{at:.1f}" y="{label_y:.1f}" text-anchor="{anchor}">{escape(p.label)}</text>',
        ]
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def stacks(rows: Sequence[Stack]) -> str:
    """Bars of equal length, divided by series."""
    left, right = _left(rows), 24
    x = _scale(0, 1, left, WIDTH - right)
    parts = [_grid([0, 0.25, 0.5, 0.75, 1], x, len(rows), "share of the time", "{:.0%}")]
    for number, row in enumerate(rows):
        y, start = _TOP + _ROW * number, 0.0
        parts.append(_row_label(row.label, left, y + _ROW / 2))
        for series, name, share in row.shares:
            width = max(0.0, x(share) - x(0) - 1)
            parts.append(
                f'<rect class="s{series}" x="{x(start):.1f}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 8}">'
                f"<title>{escape(row.label)}: {escape(name)} {share:.1%}</title></rect>"
            )
            if width > 30:
                parts.append(
                    f'<text class="inside" x="{x(start) + width / 2:.1f}" y="{y + _ROW / 2 + 4}" '
                    f'text-anchor="middle">{share:.0%}</text>'
                )
            start += share
    return _svg(parts, len(rows))


def legend(series: Sequence[tuple[int, str]]) -> str:
    """Names beside their colours."""
    return '<p class="legend">' + "".join(f'<span class="b{s}"></span>{escape(name)} ' for s, name in series) + "</p>"


def _left(rows: Sequence[Bar | Range | Stack]) -> float:
    return 16 + _CHARACTER * max(len(row.label) for row in rows)


def _scale(low: float, high: float, start: float, end: float):
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _log_scale(low: float, high: float, start: float, end: float):
    inner = _scale(math.log(low), math.log(high), start, end)
    return lambda value: inner(math.log(max(value, low)))


def _linear_ticks(top: float) -> list[float]:
    step = 10 ** math.floor(math.log10(top / 4))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if top / (m * step) <= 6)
    return [i * step for i in range(int(top / step) + 2)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them where there is room, around [low, high]."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1,) if last - first > 2 else (1, 2, 5)
    ticks = [m * 10.0**e for e in range(first, last + 1) for m in steps]
    start = max((i for i, t in enumerate(ticks) if t <= low), default=0)
    stop = min((i for i, t in enumerate(ticks) if t >= high), default=len(ticks) - 1)
    return ticks[start : stop + 1] if stop > start else ticks[start : start + 2]


def _grid(ticks: Sequence[float], x, rows: int, axis: str, form: str = "{:g}") -> str:
    floor = _TOP + _ROW * rows
    return "".join(
        f'<path class="grid" d="M{x(t):.1f} {_TOP}V{floor}"/>'
        f'<text class="tick" x="{x(t):.1f}" y="{floor + 14}" text-anchor="middle">{form.format(t)}</text>'
        for t in ticks
    ) + (
        f'<text class="axis" x="{(x(ticks[0]) + x(ticks[-1])) / 2:.1f}" y="{floor + 30}" text-anchor="middle">'
        f"{escape(axis)}</text>"
    )


def _row_label(text: str, left: float, middle: float) -> str:
    return f'<text x="{left - 8}" y="{middle + 4}" text-anchor="end">{escape(text)}</text>'


def _limit(x: float, rows: int) -> str:
    return f'<path class="limit" d="M{x:.1f} {_TOP - 4}V{_TOP + _ROW * rows}"/>'


def _svg(parts: Sequence[str], rows: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {_TOP + _ROW * rows + _BOTTOM}" role="img">{"".join(parts)}</svg>'
