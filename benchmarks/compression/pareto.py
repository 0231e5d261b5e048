"""Quality against what it costs, as a picture: the graphs that no other one beats in both are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edge.backends import BACKENDS
from edge.benchmarks import plots

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
_BACKENDS = tuple(BACKENDS)
_MARKERS = "oDs^"  # by backend
_USUAL = "arm64"  # points for other processors are named


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
    with plots.style():
        return plots.svg_file(figure(content), "Quality against cost of compressed graphs")


def figure(content: Mapping[str, Any]) -> Figure:
    """A panel for each model and cost, two in a row."""
    panels = []
    for model in content["models"]:
        quality = quality_key(model)
        for name, cost in COSTS.items():
            if any(cost(v) is not None and quality(v) is not None for v in model["variants"]):
                panels.append((model, name))
    rows = math.ceil(len(panels) / 2)
    drawn = Figure((820 / 72, (40 + 280 * rows) / 72), layout="constrained")
    places = drawn.subplots(rows, 2, squeeze=False).flat
    for place, (model, name) in zip(places, panels, strict=False):
        _panel(place, model, name)
    if len(panels) % 2:
        drawn.delaxes(drawn.axes[-1])
    drawn.legend(handles=_legend(), loc="outside upper left", ncols=6, fontsize="small", columnspacing=1)
    for place, (model, name) in zip(drawn.axes, panels, strict=True):
        plots.place_labels(place, _labels(model, name))
    return drawn


def _legend() -> list[Line2D]:
    marks = [
        Line2D([], [], linestyle="", label=f"{backend} {kind}", **_mark(backend, kind != "fp32"))
        for backend in _BACKENDS
        for kind in ("compressed", "fp32")
    ]
    front, network = Line2D([], [], color=plots.SOFT), Line2D([], [], color=plots.SOFT, linestyle="--")
    front.set_label("not beaten")
    network.set_label("unpruned (0.5: share pruned)")
    return [*marks, front, network]


def _panel(axes: Axes, model: Mapping[str, Any], name: str) -> None:
    cost, quality, variants = COSTS[name], quality_key(model), model["variants"]
    plots.logarithmic(axes, "x")
    axes.set_title(f"{model['name']}: {quality_title(model)}", fontsize="medium", loc="left")
    axes.set_xlabel(TITLES[name])
    axes.margins(0.1)
    if (network := _network_quality(model)) is not None:
        axes.axhline(network, color=plots.SOFT, linestyle="--", linewidth=1)
    best = [variants[i] for i in front(variants, cost, quality)]
    joined = [(c, q) for c, q, v in _points(model, name) if v in best]
    axes.plot(*zip(*sorted(joined), strict=True), color=plots.SOFT)
    for c, q, v in _points(model, name):
        axes.plot(c, q, linestyle="", **_mark(v["backend"], v["precision"] != "fp32"))


def _mark(backend: str, compressed: bool) -> dict[str, Any]:
    """Full for what is compressed, hollow for fp32."""
    number = _BACKENDS.index(backend)
    color = plots.SERIES[number]
    return {"marker": _MARKERS[number], "markeredgecolor": color, "markerfacecolor": color if compressed else "none"}


def _points(model: Mapping[str, Any], name: str) -> list[tuple[float, float, Variant]]:
    """Cost, quality and the variant, where both are known."""
    cost, quality = COSTS[name], quality_key(model)
    return [(c, q, v) for v in model["variants"] if (c := cost(v)) is not None and (q := quality(v)) is not None]


def _labels(model: Mapping[str, Any], name: str) -> list[tuple[float, float, str]]:
    """The share pruned, and the processor where it is not the usual one."""
    return [
        (c, q, f"{v['ratio']:g}" + (f" {v['cpu']}" if v["cpu"] not in (None, _USUAL) else ""))
        for c, q, v in _points(model, name)
    ]


def _network_quality(model: Mapping[str, Any]) -> float | None:
    if "test_set" in model:
        return model["network"]["held_out"].get(model["test_set"]["metrics"][0])
    return model["network"]["quality"]
