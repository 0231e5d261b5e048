"""Reports of edge-compress as tables: Markdown for documents, aligned text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.benchmarks.machine import machine_line
from edge.benchmarks.tables import columns, filled, number
from edge.benchmarks.tables import markdown as markdown_table

METRICS = {"sdr": ("SDR dB", 2), "si_sdr": ("SI-SDR dB", 2), "pesq": ("PESQ-wb", 3), "estoi": ("ESTOI", 3)}
_FRONTS = {"rtf": "time", "megabytes": "size", "a53": "A53", "a76": "A76", "i8mm": "i8mm"}


def rows(model: Mapping[str, Any]) -> list[list[str]]:
    """Header and cells of one model: the network in PyTorch, then a row a graph. What was not measured is empty."""
    metrics = model.get("test_set", {}).get("metrics", [])
    cores = list(dict.fromkeys(core for v in model["variants"] for core in v.get("arm") or {}))
    unit = model["sample"]["unit"]
    header = ["pruned", "precision", "runtime", "params M", "MMAC/s", "file MB", f"sample {unit} (loss)"]
    header += [f"{METRICS[m][0]} (loss)" for m in metrics]
    header += ["RTF", "ms a run", "x fp32", "x PyTorch", *(f"M instr/s {core}" for core in cores), "best of"]
    table = [header]
    for position, v in enumerate([_network(model), *model["variants"]], start=-1):
        time = v.get("time") or {}
        held = v.get("held_out") or {"mean": {}, "loss": {}}
        fronts = [_FRONTS[cost] for cost, members in model["pareto"].items() if position in members]
        table.append(
            [
                *_graph_cells(v),
                number(v["parameters"], 1e-6, 2),
                number(v["macs_per_second"], 1e-6, 0),
                number(v["graph_bytes"], 1e-6, 2),
                _with_loss(v["quality"], v["quality_loss"], 2),
                *(_with_loss(held["mean"].get(m), held["loss"].get(m), METRICS[m][1]) for m in metrics),
                number(time.get("rtf"), 1, 4),
                number(time.get("run_seconds"), 1e3, 2),
                _ratio(time.get("speedup_fp32")),
                _ratio(time.get("speedup_pytorch")),
                *(number(((v.get("arm") or {}).get(core) or {}).get("total"), 1e-6, 1) for core in cores),
                ", ".join(fronts),
            ]
        )
    return table


def _network(model: Mapping[str, Any]) -> dict[str, Any]:
    """The unpruned network in PyTorch as a variant."""
    network = model["network"]
    row = {"ratio": 0, "precision": "fp32", "cpu": None, "backend": "PyTorch, eager", "graph_bytes": None}
    row |= {**network, "quality_loss": None, "held_out": {"mean": network.get("held_out") or {}, "loss": {}}}
    return row | ({"time": {**network["time"], "speedup_pytorch": {"value": 1.0}}} if network.get("time") else {})


def _with_loss(value: float | None, loss: float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if loss is None else f"{value:.{digits}f} ({loss:+.{digits}f})"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['value']:.2f}"


def notes(content: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """What the figures of one model mean, and where they were taken."""
    sample, test, settings = model["sample"], model.get("test_set"), content["settings"]
    lines = [f"sample: {sample['metric']} of {sample['reference']} (input {number(sample['input'], 1, 2) or 'n/a'})."]
    if test:
        inputs = ", ".join(f"{METRICS[m][0]} {number(test['input'].get(m), 1, METRICS[m][1])}" for m in test["metrics"])
        lines.append(f"Means over {test['what']} (input {inputs}).")
    lines.append("loss: below the unpruned network in PyTorch, on the same files.")
    trained = {f"{v['ratio']:g}": v["recovery"] for v in model["variants"] if v["ratio"] and v["recovery"]}
    bare = sorted({f"{v['ratio']:g}" for v in model["variants"] if v["ratio"] and not v["recovery"]})
    lines += [f"Trained after pruning by {ratio}: {_minutes(r)}." for ratio, r in trained.items()]
    if bare:
        lines.append(f"Not trained after pruning: {', '.join(bare)}.")
    if model["network"].get("time"):
        lines.append(
            "RTF, ms a run: medians; x fp32, x PyTorch: how many times faster than the unpruned fp32 graph of the same "
            "runtime, and than the network in eager PyTorch, median of the rounds' own ratios, all in one interleaved "
            "run."
        )
    if any(v.get("arm") for v in model["variants"]):
        lines.append("M instr/s: millions of instructions on an emulated ARM64 core for one second of audio.")
    lines.append("best of: no other graph here has both a better quality and a lower cost of that kind.")
    lines += [f"FAILED {f['what']}: {f['error']}" for f in model["failures"]]
    where = f"Measured by `{content['tool']['command']}` on {machine_line(content['machine'])}"
    return [*lines, f"{where}, {settings['threads']} thread(s)."]


def agreement_rows(model: Mapping[str, Any]) -> list[list[str]]:
    """Header and a row a graph: how near its stems come to those of the unpruned network, source by source."""
    sources = list(dict.fromkeys(source for v in model["variants"] for source in v["agreement"]))
    cells = [[number(v["agreement"].get(source), 1, 2) for source in sources] for v in model["variants"]]
    return [["pruned", "precision", "runtime", *(f"{source} dB" for source in sources)]] + [
        [*_graph_cells(v), *values] for v, values in zip(model["variants"], cells, strict=True)
    ]


def _agreement_title(model: Mapping[str, Any]) -> str:
    return f"SI-SDR on {model['recording']} against what the unpruned network makes of it (empty: a silent source):"


def _graph_cells(variant: Mapping[str, Any]) -> list[str]:
    made_for = f" for {variant['cpu']}" if variant["cpu"] else ""
    return [f"{variant['ratio']:g}", variant["precision"] + made_for, variant["backend"]]


def _minutes(recovery: Mapping[str, Any]) -> str:
    minutes = recovery.get("minutes")
    return f"{minutes:g} minutes" if minutes else "as its checkpoint says"


def markdown(content: Mapping[str, Any], heading: str = "##") -> str:
    """Every model's table with its notes, the agreement on a recording, and the same-budget baselines."""
    parts = []
    for model in content["models"]:
        table, lines = rows(model), notes(content, model)
        parts += [f"{heading} {model['name']}", markdown_table(filled(table), 3), "  \n".join(lines)]
        if "recording" in model:
            parts += [_agreement_title(model), markdown_table(filled(agreement_rows(model)), 3)]
        parts += [baseline_markdown(b) for b in model.get("baselines", [])]
    return "\n\n".join(parts)


def text(content: Mapping[str, Any]) -> str:
    """For a terminal."""
    parts = []
    for model in content["models"]:
        parts += [model["name"], columns(rows(model), (0, 1, 2)), "\n".join(notes(content, model))]
        if "recording" in model:
            parts += [f"{_agreement_title(model)}\n{columns(agreement_rows(model), (0, 1, 2))}"]
        parts += [baseline_text(b) for b in model.get("baselines", [])]
    return "\n\n".join(parts)


def baseline_rows(baseline: Mapping[str, Any]) -> list[list[str]]:
    """Validation figures of the unpruned network, of it pruned, recovered, and trained from scratch."""
    systems = {k: v for k, v in baseline["validation"].items() if v}
    names = list(dict.fromkeys(name for values in systems.values() for name in values))
    return [["network", *names], *([k, *(number(v.get(n), 1, 3) for n in names)] for k, v in systems.items())]


def verdict(baseline: Mapping[str, Any]) -> str:
    """Which of the two trainings won, in one sentence."""
    metric, validation = baseline["metric"], baseline["validation"]
    recovered, scratch = (validation[name][metric] for name in ("pruned and recovered", "from scratch"))
    gap = recovered - scratch
    better = "beats" if gap > 0 else "does NOT beat"
    return (
        f"Pruned by {baseline['ratio']:g} and recovered {better} the same size trained from scratch by "
        f"{abs(gap):.3f} ({metric}) at {baseline['minutes']:g} minutes each."
    )


def baseline_markdown(baseline: Mapping[str, Any]) -> str:
    """The same-budget comparison as Markdown."""
    return "\n\n".join(
        [f"**{verdict(baseline)}**", markdown_table(baseline_rows(baseline), 1), _baseline_note(baseline)]
    )


def baseline_text(baseline: Mapping[str, Any]) -> str:
    """The same-budget comparison for a terminal."""
    return "\n".join([verdict(baseline), columns(baseline_rows(baseline), (0,)), _baseline_note(baseline)])


def _baseline_note(baseline: Mapping[str, Any]) -> str:
    steps = ", ".join(f"{name} {count}" for name, count in baseline["steps"].items())
    return (
        f"Validation split; {baseline['parameters'] / 1e6:.2f} M parameters; steps: {steps}. Measured by "
        f"`{baseline['command']}` on {machine_line(baseline['machine'])}, {baseline['threads']} thread(s)."
    )
