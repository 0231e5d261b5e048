"""Quality against what it costs, as a picture: the graphs that no other one beats in both are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from edge.backends import BACKENDS

Variant = Mapping[str, Any]
Number = Callable[[Variant], float | None]

# What a graph costs, smaller is better: title of the axis and how to read it off.
COSTS: dict[str, Number] = {
    "rtf": lambda v: (v.get("time") or {}).get("rtf"),
    "megabytes": lambda v: v["graph_bytes"] / 1e6,
    "a53": lambda v: _instructions(v, "cortex-a53"),
    "a76": lambda v: _instructions(v, "cortex-a76"),
    "i8mm": lambda v: _instructions(v, "i8mm"),
}
TITLES = {
    "rtf": "RTF",
    "megabytes": "graph file, MB",
    "a53": "M instructions per second of audio, Cortex-A53",
    "a76": "M instructions per second of audio, Cortex-A76",
    "i8mm": "M instructions per second of audio, core with i8mm",
}
WIDTH, _PANEL, _LEFT, _TOP, _BOTTOM = 820, 300, 54, 34, 44
_BACKENDS = tuple(BACKENDS)
_USUAL = "arm64"  # points for other processors are named
_STYLE = """
svg { --paper: #ffffff; --ink: #1c2330; --soft: #5b6472; --line: #e3e6eb; --b0: #3b6fb6; --b1: #d9822b; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14181f; --ink: #e6e9ef; --soft: #9aa4b2; --line: #2c333e; --b0: #6ea0e6; --b1: #f0a354; } }
text { font: 12px system-ui, sans-serif; fill: var(--soft); } .title { font-weight: 600; fill: var(--ink); }
.label { font-size: 11px; fill: var(--ink); stroke: var(--paper); stroke-width: 3; paint-order: stroke; }
.paper { fill: var(--paper); }
.grid { stroke: var(--line); fill: none; } .front { stroke: var(--soft); stroke-width: 1.5; fill: none; }
.network { stroke: var(--soft); stroke-dasharray: 4 4; fill: none; }
.f0 { fill: var(--b0); stroke: var(--b0); } .f1 { fill: var(--b1); stroke: var(--b1); }
.h0 { fill: var(--paper); stroke: var(--b0); } .h1 { fill: var(--paper); stroke: var(--b1); }
.f0, .f1, .h0, .h1 { stroke-width: 2; } .f0, .f1 { fill-opacity: 0.7; } .h0, .h1 { fill-opacity: 0; }
"""


def _instructions(variant: Variant, core: str) -> float | None:
    counts = (variant.get("arm") or {}).get(core)
    return None if counts is None else counts["total"] / 1e6


def quality_key(model: Mapping[str, Any]) -> Number:
    """How to read a variant's quality: its first held-out metric where there is one, else that of the sample."""
    if "test_set" in model:
        metric = model["test_set"]["metrics"][0]
        return lambda v: v["held_out"]["mean"].get(metric)
    return lambda v: v["quality"]


def quality_title(model: Mapping[str, Any]) -> str:
    """What `quality_key` reads."""
    if "test_set" in model:
        names = {"sdr": "SDR, dB", "si_sdr": "SI-SDR, dB"}
        return f"{names[model['test_set']['metrics'][0]]} ({model['test_set']['files']} held-out files)"
    return f"{model['sample']['metric'].split(',')[0]}, {model['sample']['unit']} (sample recording)"


def front(variants: Sequence[Variant], cost: Number, quality: Number) -> list[int]:
    """Numbers of the variants that none beats, by rising cost: none is as good and cheaper, or better and as cheap.

    Qualities that are the same to 0.01 count as the same.
    """
    known = [(cost(v), quality(v), i) for i, v in enumerate(variants)]
    points = [(c, round(q, 2), i) for c, q, i in known if c is not None and q is not None]
    kept = []
    best = -math.inf
    for _, q, i in sorted(points, key=lambda p: (p[0], -p[1])):
        if q > best:
            kept.append(i)
            best = q
    return kept


def draw(content: Mapping[str, Any]) -> str:
    """The whole picture as an SVG file: for each model one panel a cost that was measured."""
    panels = []
    for model in content["models"]:
        quality = quality_key(model)
        for name, cost in COSTS.items():
            if any(cost(v) is not None and quality(v) is not None for v in model["variants"]):
                panels.append((model, name))
    rows = math.ceil(len(panels) / 2)
    parts = [f'<rect class="paper" width="{WIDTH}" height="{_TOP + rows * _PANEL}"/>', _legend()]
    for number, (model, name) in enumerate(panels):
        x, y = (number % 2) * WIDTH / 2, _TOP + number // 2 * _PANEL
        parts.append(f'<g transform="translate({x:.0f} {y})">{_panel(model, name)}</g>')
    height = _TOP + rows * _PANEL
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img"><title>Quality against cost of compressed graphs</title><style>{_STYLE}</style>'
        + "\n".join(parts)
        + "</svg>\n"
    )


def _legend() -> str:
    parts, x = [], 20
    for number, backend in enumerate(_BACKENDS):
        for kind, precision in (("f", "compressed"), ("h", "fp32")):
            parts.append(_mark(f"{kind}{number}", x, 18, ""))
            parts.append(f'<text x="{x + 11}" y="22">{backend} {precision}</text>')
            x += 50 + 7 * len(f"{backend} {precision}")
    parts.append(f'<path class="front" d="M{x} 18h22"/><text x="{x + 28}" y="22">not beaten</text>')
    parts.append(f'<path class="network" d="M{x + 104} 18h22"/><text x="{x + 132}" y="22">unpruned</text>')
    parts.append(f'<text x="{WIDTH - 16}" y="22" text-anchor="end">0.5: share pruned</text>')
    return "".join(parts)


def _panel(model: Mapping[str, Any], name: str) -> str:
    cost, quality, variants = COSTS[name], quality_key(model), model["variants"]
    points = [(c, q, v) for v in variants if (c := cost(v)) is not None and (q := quality(v)) is not None]
    network = _network_quality(model)
    qualities = [q for _, q, _ in points] + ([network] if network is not None else [])
    right, floor = WIDTH / 2 - 16, _PANEL - _BOTTOM
    y_ticks = linear_ticks(min(qualities), max(qualities))
    x_ticks = log_ticks(min(c for c, _, _ in points), max(c for c, _, _ in points))
    low, high = math.log(x_ticks[0]), math.log(x_ticks[-1])
    bottom, top = y_ticks[0], y_ticks[-1]

    def x(value: float) -> float:
        return _LEFT + 10 + (math.log(value) - low) / (high - low) * (right - _LEFT - 34)

    def y(value: float) -> float:
        return floor - 8 - (value - bottom) / (top - bottom) * (floor - 44)

    parts = [
        f'<text class="title" x="{_LEFT}" y="18">{escape(model["name"])}: {escape(quality_title(model))}</text>',
        *(f'<path class="grid" d="M{x(t):.1f} 28V{floor}"/>' for t in x_ticks),
        *(f'<path class="grid" d="M{_LEFT} {y(t):.1f}H{right}"/>' for t in y_ticks),
        *(f'<text x="{x(t):.1f}" y="{floor + 16}" text-anchor="middle">{t:g}</text>' for t in x_ticks),
        *(f'<text x="{_LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>' for t in y_ticks),
        f'<text x="{(_LEFT + right) / 2}" y="{floor + 34}" text-anchor="middle">{escape(TITLES[name])}</text>',
    ]
    if network is not None:
        parts.append(f'<path class="network" d="M{_LEFT} {y(network):.1f}H{right}"/>')
    best = front(variants, cost, quality)
    joined = [f"{x(cost(variants[i])):.1f} {y(quality(variants[i])):.1f}" for i in best]  # type: ignore[arg-type]
    if len(joined) > 1:
        parts.append(f'<path class="front" d="M{" L".join(joined)}"/>')
    taken = [(x(c) - 6, y(q) - 6, x(c) + 6, y(q) + 6) for c, q, _ in points]
    labels: list[tuple[str, float, float]] = []
    for c, q, v in points:
        px, py, text = x(c), y(q), f"{v['ratio']:g}" + (f" {v['cpu']}" if v["cpu"] not in (None, _USUAL) else "")
        kind = ("h" if v["precision"] == "fp32" else "f") + str(_BACKENDS.index(v["backend"]))
        hint = f"pruned {text}, {v['precision']}, {v['backend']}: {c:.4g}, {q:.2f} dB"
        parts.append(_mark(kind, px, py, hint))
        named = any(t == text and abs(px - lx) < 16 and abs(py - ly) < 8 for t, lx, ly in labels)  # of a close twin
        place = None if named else _free_place(px, py, 6.2 * len(text), taken)
        if place is not None:
            labels.append((text, px, py))
            parts.append(f'<text class="label" x="{place[0]:.1f}" y="{place[1]:.1f}">{text}</text>')
    return "".join(parts)


def _mark(kind: str, x: float, y: float, hint: str) -> str:
    """A dot for ONNX, a diamond for ExecuTorch, with what a pointer shows over it."""
    title = f"<title>{escape(hint)}</title>" if hint else ""
    if kind.endswith("0"):
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{title}</circle>'
    return f'<path class="{kind}" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z">{title}</path>'


def _network_quality(model: Mapping[str, Any]) -> float | None:
    if "test_set" in model:
        return model["network"]["held_out"].get(model["test_set"]["metrics"][0])
    return model["network"]["quality"]


def _free_place(
    px: float, py: float, width: float, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float] | None:
    """Where a label fits beside its point without covering what is `taken`, which it then is itself."""
    for dx, dy in ((9, 4), (-9 - width, 4), (-width / 2, -9), (-width / 2, 18), (8, -6), (8, 14)):
        box = (px + dx, py + dy - 9, px + dx + width, py + dy + 1)
        if not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
            taken.append(box)
            return px + dx, py + dy
    return None


def linear_ticks(low: float, high: float) -> list[float]:
    """About five round numbers whose first and last enclose [low, high]."""
    span = max(high - low, 0.1)
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten whose first and last enclose [low, high], both positive."""
    ticks = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    first = max(i for i, t in enumerate(ticks) if t <= low * (1 + 1e-9))
    last = next(i for i, t in enumerate(ticks) if t >= high * (1 - 1e-9) and i > first)
    return ticks[first : last + 1]
