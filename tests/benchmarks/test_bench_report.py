"""The estimates, floors, profiles, comparisons and pages behind edge-bench, on figures whose answers are known."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.benchmarks import (
    compare,
    floor,
    memory_profile,
    page,
    plots,
    profiling,
    report,
    report_text,
    runner,
    stats,
    verdict,
)
from edge.benchmarks.floor import Peak
from edge.bundle import open_bundle
from edge.errors import InputError


def result(bundle="bundles/one", backend="onnx", threads=1, rtf=0.02, **over) -> dict:
    """A result as in a report."""
    hop = 0.01
    times = {"min": 0.9 * rtf, "p50": rtf, "p95": 1.2 * rtf, "p99": 1.5 * rtf, "max": 60 * rtf}
    values = dict(
        bundle=bundle, backend=backend, threads=threads, name="enhancer", task="enhance", precision="fp32",
        prune_ratio=0.0, sample_rate=16000, hop_seconds=hop, latency_seconds=0.02, graph_bytes=4_000_000,
        weight_bytes=3_900_000, weight_bytes_per_second=3.9e8, macs_per_second=1e8, attention_macs_per_second=1e6,
        golden_snr_db=120.0, load_seconds=0.05, first_seconds=0.001, hops=1000, rtf=rtf,
        rtf_rounds=[rtf, 1.1 * rtf, 0.95 * rtf], hop_time={k: t * hop for k, t in times.items()},
        hop_quantiles=list(np.linspace(times["min"] * hop, times["max"] * hop, 21)), deadline_misses=3,
        peak_bytes=80_000_000,
    )  # fmt: skip
    return values | over


def content(*results: dict, device: str | None = None) -> dict:
    measured = runner.Report(rounds=3)
    found = report.content(report.Watch(), measured, "edge-bench", ["edge-bench"], seconds=1.0, threads=[1], seed=0)
    found["machine"]["device_model"] = device
    return json.loads(json.dumps(found | {"results": list(results)}))


rates = st.floats(0.2, 5.0)


@given(st.lists(st.tuples(rates, rates), min_size=6, max_size=60), st.floats(0.1, 10))
def test_paired_ratio_cancels_what_slows_a_round(pairs, true_ratio):
    """Rounds may be slowed by any factor that hits both members: the ratio is exact."""
    slow = [a for a, _ in pairs]
    found = stats.paired_ratio([true_ratio * s for s in slow], slow)
    assert found.value == pytest.approx(true_ratio) and found.low == pytest.approx(found.high)


def test_a_sentence_for_each_bundle():
    slow = {"p50": 2.0, "p99": 2.5}
    results = [
        result(),
        result(threads=2, rtf=0.015),
        result("song", rtf=2.1, hop_time=slow, hop_seconds=1.0),
        result("late", rtf=0.5, hop_seconds=0.01, hop_time={"p99": 0.012}),
        result("long", rtf=0.2, latency_seconds=4.0, peak_bytes=None),
    ]
    assert verdict.verdicts(report.labels(results), results) == [
        "one runs live here (onnx, 2 threads): 1.5 % of 2 cores, 80 MB of memory, 20 ms of latency.",
        "song does not run live here (onnx, 1 thread): it takes 2.1 times as long as the audio lasts.",
        "late does not run live here (onnx, 1 thread): one hop in a hundred takes 12 ms of 10 ms.",
        "long runs live here (onnx, 1 thread): 20 % of a core, 4.0 s of latency.",
    ]
    assert "one runs live here" in report_text.text(content(result()))


@pytest.mark.parametrize("count", [6, 15, 60])
def test_the_interval_holds_the_median_as_often_as_it_says(count):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        ratios = np.exp(rng.standard_normal(count))  # the median of a lognormal is 1
        found = stats.paired_ratio(list(ratios), [1.0] * count)
        hits += found.low <= 1 <= found.high
    assert 0.94 <= hits / 2000 <= 0.985


def peak(precision: str, macs: float | None = None, reading: float | None = None, threads: int = 1) -> Peak:
    return Peak("onnx", threads, precision, "probe", macs, reading)


def test_floor_is_the_larger_of_arithmetic_and_reading():
    peaks = [peak("fp32", 1e10), peak("int8", 4e10), peak("fp32", reading=1e9), peak("fp32", 9e10, threads=2)]
    values = dict(
        precision="fp32", macs_per_second=2e9, attention_macs_per_second=1e9, run_seconds=0.5, weight_bytes=2_000_000,
        io_bytes=0,
    )  # fmt: skip
    found = floor.floor(values, "onnx", 1, 0.3, peaks)
    assert found is not None
    assert found.compute_seconds == pytest.approx(0.15) and found.memory_seconds == pytest.approx(0.002)
    assert found.times == pytest.approx(2)
    int8 = floor.floor(values | {"precision": "int8"}, "onnx", 1, 0.3, peaks)
    assert int8 is not None and int8.compute_seconds == pytest.approx(0.5 * (2e9 / 4e10 + 1e9 / 1e10))
    many = floor.floor(values | {"weight_bytes": 300_000_000}, "onnx", 1, 0.3, peaks)
    assert many is not None and many.times == pytest.approx(1)
    assert floor.floor(values, "executorch", 1, 0.3, peaks) is None


def test_peaks_are_the_best_of_all_rounds():
    names = list(floor.PROBES)
    slices = [[1.0 + i for i in range(len(names))], [0.5] * len(names)]
    found = floor.peaks("onnx", 2, [1e9] * len(names), [1e6] * len(names), slices)
    assert [f"{p.probe}-{p.precision}" for p in found] == names
    for p, kind in zip(found, floor.PROBES.values(), strict=True):
        assert (p.macs_per_second, p.bytes_per_second) == ((2e9, None) if kind == "macs" else (None, 2e6))


def test_profile_by_layer_type():
    def node(name: str, operator: str, ts: int, dur: int) -> dict:
        return {"cat": "Node", "name": name, "ts": ts, "dur": dur, "args": {"op_name": operator}}

    events = [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 90} for ts in (0, 100, 200)]
    events += [node("warm_kernel_time", "Conv", 10, 9000)]
    for start in (100, 200):
        events += [node("c_kernel_time", "Conv", start + 1, 30), node("t_kernel_time", "ConvTranspose", start + 2, 30)]
        events += [node("m_kernel_time", "Mul", start + 3, 20), node("x_kernel_time", "Unheard", start + 4, 20)]
        events += [node("c_fence_before", "Conv", start, 500)]
    found = profiling.summarise(events)
    assert found.runs == 2
    shares = [(e.kind, pytest.approx(e.share), e.calls) for e in found.entries]
    assert shares == [("convolution", 0.6, 2), ("elementwise", 0.2, 1), ("other", 0.2, 1)]
    assert found.entries[0].seconds == pytest.approx(60e-6)


def test_memory_by_layer_type():
    def node(name: str, operator: str, ts: int, in_use: int, delta: int) -> dict:
        args = {"op_name": operator, "mem_bytes_in_use": str(in_use), "mem_in_use_delta": str(delta)}
        args["mem_arena_held"] = "9000"
        return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": 1, "args": args}

    events = [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 90} for ts in (0, 100)]
    events += [node("first", "Conv", 1, 8000, 7000)]  # while the arena still grows
    events += [node("a", "Conv", 101, 1500, 500), node("b", "Mul", 102, 2500, 1000), node("c", "Conv", 103, 1700, -800)]
    found = memory_profile.used(events)
    assert (found.rest_bytes, found.used_bytes, found.reserved_bytes) == (1000, 2500, 9000)
    assert [(e.kind, e.bytes, e.layer) for e in found.entries] == [
        ("elementwise", 2500, "b"),
        ("convolution", 1700, "c"),
    ]


@pytest.mark.parametrize("name", ["enhancer", "htdemucs-mini"])
def test_planned_memory_is_what_the_exporter_planned(name):
    """Against ExecuTorch's own reader of programs, which a runtime does not have."""
    program = pytest.importorskip("executorch.exir._serialize._program")
    file = open_bundle(name).graph_path("executorch")
    own = program.deserialize_pte_binary(file.read_bytes())
    plans = getattr(own, "program", own).execution_plan
    found = memory_profile.planned(file.read_bytes(), str(file))
    assert found.reserved_bytes == sum(size for plan in plans for size in plan.non_const_buffer_sizes) > 0
    assert 0.5 * file.stat().st_size < found.rest_bytes < file.stat().st_size


@pytest.mark.parametrize("program", [b"", b"nothing of the kind", bytes(2000), b"\x08\xff\0\0ET12"])
def test_what_is_no_program_is_refused(program):
    with pytest.raises(InputError, match="no ExecuTorch program"):
        memory_profile.planned(program, "model.pte")


def test_compare_pairs_what_is_the_same_on_each_device(tmp_path):
    one = content(result(rtf=0.02), result("bundles/x", "executorch", rtf=0.01), device="Board A")
    two = content(result("/elsewhere/one", rtf=0.05, peak_bytes=None), device="Phone B")
    found = compare.compare({"a.json": one, "b.json": two})
    first, second = found["rows"]
    assert [d["ratio"] for d in first["devices"]] == [1.0, pytest.approx(2.5)]
    assert second["devices"][1] is None
    text = compare.text(found)
    assert "Board A" in text and "Phone B" in text and "2.50" in text
    compare.write_page(found, tmp_path / "c.html")
    check_page(tmp_path / "c.html", plots=1)
    with pytest.raises(InputError, match="no results"):
        compare.compare({"a.json": content()})


def check_page(path: Path, plots: int) -> None:
    """Self-contained, every drawing well-formed and inside its frame."""
    text = path.read_text()
    assert not re.search(r"https?:|src=|href=|@import|<script", text)
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == plots
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter():
            for key, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                if key in element.attrib:
                    assert -1e-6 <= float(element.attrib[key]) <= limit + 1e-6, ElementTree.tostring(element)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats(1e-5, 50), st.sampled_from(["onnx", "executorch"]), st.sampled_from(["fp32", "int8"]),
                  st.integers(1, 4), st.integers(1000, 10**9)),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_the_page_holds_any_results(tmp_path_factory, cases):
    results = [
        result(f"bundles/b<{i}>", backend, threads, rtf, precision=precision, graph_bytes=size)
        for i, (rtf, backend, precision, threads, size) in enumerate(cases)
    ]
    target = tmp_path_factory.mktemp("page") / "p.html"
    page.write_page(content(*results), target)
    check_page(target, plots=3)


def test_whiskers_and_limits_only_where_they_say_something():
    bar = plots.Bar("a", 1.0, 1.0, 1.0, 0, "1")
    assert "whisker" not in plots.bars([bar], "x") and "limit" not in plots.bars([bar], "x", limit=100.0)
    assert "limit" in plots.bars([bar], "x", limit=1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "is no JSON"),
        ("[]", "no report of edge-bench"),
        ('{"schema_version": "1.0"}', "no report of edge-bench"),
        ('{"schema_version": "2.0", "tool": {}, "machine": {}, "settings": {}, "results": [], "failures": []}', "2.0"),
    ],
)
def test_reports_that_are_none_are_refused_in_one_line(tmp_path, text, message, capsys):
    from edge.cli.bench import main

    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    assert main(["compare", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_busy_machine_is_told():
    found = content(result())
    found["machine"] |= {"load_average": 0.2, "processors": 4}
    assert "busy" not in report_text.text(found)
    found["machine"]["load_average"] = 3.0
    assert "busy when this began (load 3.0 on 4 processors)" in report_text.text(found)
    found["machine"]["load_average"] = None  # a phone does not tell
    assert "busy" not in report_text.text(found)


def test_labels_are_short_where_they_can_be():
    one, two = {"bundle": "a/model"}, {"bundle": "b/model"}
    assert report.labels([one, {"bundle": "b/other.edge"}, one]) == ["model", "other", "model"]
    assert report.labels([one, two]) == ["a/model", "b/model"]
