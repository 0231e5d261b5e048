"""MODEL_CARD.md of a bundle: the manifest's record in words and one table."""

from edge.bundle import BeforeAfter, GraphRecord, Manifest

RUNTIMES = {"onnx": "ONNX Runtime", "executorch": "ExecuTorch"}


def model_card(manifest: Manifest) -> str:
    """Markdown text."""
    m = manifest
    quality = m.quality.values
    rows: list[tuple[str, str, str]] = [
        ("parameters", *_millions(m.compression.parameters)),
        ("MACs per second of audio", *_millions(m.compression.macs_per_second)),
    ]
    if quality.get("before") is not None:
        before, after = _decibels(quality["before"]), _decibels(quality.get("after"))
        rows.append((f"{m.quality.metric} (input {_decibels(quality.get('input'))})", before, after))
    table = "\n".join(f"| {name} | {before} | {after} |" for name, before, after in rows)
    graphs = "\n".join(
        f"- `{graph.file}`: {graph.bytes / 1e6:.2f} MB, "
        f"{_precision(graph)}, "
        f"{m.parity.get(target, 0):.1f} dB SNR against the torch network"
        f"{f'; {RUNTIMES.get(target, target)} {graph.least_runtime} or newer' if graph.least_runtime else ''}"
        for target, graph in m.graphs.items()
    )
    return f"""# {m.name}

{"Music separation into " + ", ".join(m.sources) if m.task == "separate" else "Causal speech enhancement"} at \
{m.sample_rate} Hz; pruned by {m.compression.prune_ratio:g}.

| | before compression | after |
|---|---|---|
{table}

{_quality(m)}

{graphs}{_agreement(m)}
{_untrained(m)}{_int8(m)}
- Algorithmic latency: {m.latency_samples} samples ({1000 * m.latency_samples / m.sample_rate:.0f} ms)
- Training data: {m.training_data}
- Licence of the weights: {m.weights_license}
- Made with: {", ".join(f"{k} {v}" for k, v in m.tools.items())}
"""


def _quality(m: Manifest) -> str:
    if m.quality.values.get("before") is None:
        return "Quality was not measured: no recording with these sources comes with stem-edge."
    return f"Quality was measured on: {m.quality.reference}."


def _agreement(m: Manifest) -> str:
    if m.agreement is None:
        return ""
    a = m.agreement
    lines = [
        f"- `{backend}` on {a['recording']} ({a['seconds']:g} s), {a['metric']}: "
        + ", ".join(f"{source} {_decibels(value)}" for source, value in values.items())
        for backend, values in a["values"].items()
    ]
    return "\n".join(["", *lines])


def _untrained(m: Manifest) -> str:
    if not m.compression.prune_ratio or m.compression.recovery is not None:
        return ""
    return "- The pruned weights were not trained on after pruning: they want training\n"


def _precision(graph: GraphRecord) -> str:
    part = f" in {graph.int8_layers()} of {len(graph.layers)} layers" if graph.int8_layers() else ""
    return f"{graph.made_in()}{part}"


def _int8(m: Manifest) -> str:
    told = f"- Precision was chosen layer by layer for {m.compression.cpu}\n" if m.compression.cpu else ""
    c = m.compression.calibration
    if c:
        told += f"- Calibrated on {c['segments']} segments of {c['segment_seconds']:g} s (seed {c['seed']}) of "
        told += f"{' and '.join(c['recordings'])}\n"
    return told


def _millions(value: BeforeAfter) -> tuple[str, str]:
    return f"{value.before / 1e6:.2f} M", f"{value.after / 1e6:.2f} M"


def _decibels(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} dB"
