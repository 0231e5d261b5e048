"""Where a graph's time goes, by layer type: ONNX Runtime's own profiler.

The ExecuTorch wheels are built without event tracing, so of their programs only the manifest's counts can be told:
how many ops XNNPACK took in how many subgraphs, and which were left outside.
"""

from __future__ import annotations

import collections
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.backends import import_backend
from edge.backends.onnx import Onnx
from edge.bundle import Bundle, open_bundle

KINDS = {
    "convolution": "Conv ConvTranspose ConvInteger QLinearConv FusedConv",
    "matmul": "MatMul Gemm FusedMatMul FusedGemm MatMulInteger MatMulIntegerToFloat DynamicQuantizeMatMul QGemm",
    "normalisation": "LayerNormalization GroupNormalization ReduceMean Sqrt Reciprocal QLinearReduceMean",
    "activation": "Gelu BiasGelu QuickGelu Sigmoid QLinearSigmoid Tanh Relu LeakyRelu Softmax",
    "elementwise": "Add Sub Mul Div Neg Pow Log Exp Max Min QLinearAdd QLinearMul",
    "data movement": "Transpose Reshape Concat Slice Split Pad Gather Expand Squeeze Unsqueeze Identity ReorderInput "
    "ReorderOutput QLinearConcat",
    "quantization": "QuantizeLinear DequantizeLinear DynamicQuantizeLinear Cast",
}
_KIND = {operator: kind for kind, operators in KINDS.items() for operator in operators.split()}
_MAX_EVENTS = 500_000  # the profiler drops what comes after a million


@dataclass(frozen=True)
class Entry:
    """One layer type: seconds and operator calls per run, its share of all, seconds per run by operator."""

    kind: str
    operators: dict[str, float]
    seconds: float
    share: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """The layer types, longest first, over `runs` runs."""

    source: str
    runs: int
    entries: list[Entry]


def profile_onnx(path: str | Path, threads: int, seconds: float) -> Profile:
    """Run the ONNX graph of a bundle for about `seconds` under the profiler."""
    return summarise(profiler_events(open_bundle(Path(path)), threads, seconds))


def profiler_events(bundle: Bundle, threads: int, seconds: float, least: int = 2) -> list[dict[str, Any]]:
    """What ONNX Runtime's profiler tells of runs for about `seconds`, at least `least` of them."""
    import_backend("onnx")
    from edge.benchmarks.worker import Hops

    with tempfile.TemporaryDirectory() as folder:
        long = bundle.manifest.segment is not None
        graph = Onnx(str(bundle.graph_path("onnx")), threads, str(Path(folder) / "profile"), long)
        hops = Hops(bundle.manifest, graph.run)
        limit = max(least, _MAX_EVENTS // (2 * sum(bundle.manifest.graphs["onnx"].ops.values()) or 1))
        started, runs = time.perf_counter(), 0
        while runs < least or (time.perf_counter() - started < seconds and runs < limit):
            hops.run(1)
            runs += 1
        return json.loads(Path(graph.session.end_profiling()).read_text())


def kind_of(operator: str) -> str:
    """The layer type of an operator of ONNX Runtime."""
    return _KIND.get(operator, "other")


def summarise(events: Iterable[dict[str, Any]]) -> Profile:
    """The profiler's events (its JSON) by layer type; the first run, which warms up, does not count."""
    events = list(events)
    starts = sorted(e["ts"] for e in events if e.get("cat") == "Session" and e["name"] == "model_run")
    seconds: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= starts[1]:
            seconds[event["args"]["op_name"]] += event["dur"] * 1e-6
            calls[event["args"]["op_name"]] += 1
    runs, total = len(starts) - 1, sum(seconds.values())
    kinds: dict[str, list[str]] = {}
    for operator in sorted(seconds, key=lambda name: -seconds[name]):
        kinds.setdefault(kind_of(operator), []).append(operator)
    entries = [
        Entry(
            kind,
            {operator: seconds[operator] / runs for operator in operators},
            sum(seconds[operator] for operator in operators) / runs,
            sum(seconds[operator] for operator in operators) / total,
            sum(calls[operator] for operator in operators) / runs,
        )
        for kind, operators in kinds.items()
    ]
    return Profile("onnxruntime profiler", runs, sorted(entries, key=lambda entry: -entry.seconds))
