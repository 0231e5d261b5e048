"""The ARM64 instruction budget: what is computed from counts, the baseline, the command and its errors.

The tests of the emulator itself need qemu and the emulated Python: EDGE_ARM_PYTHON names it (see docs/arm.md).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.benchmarks.arm.__main__ import main
from edge.benchmarks.arm.baseline import Entry, compare, load_baseline, save_baseline
from edge.benchmarks.arm.budget import CLASSES, Budget, Case, by_class, measure, median_hop, runs_between
from edge.benchmarks.arm.cores import NAMED_CORES, least_milliseconds
from edge.benchmarks.arm.emulator import CORES, find_emulator, read_marks
from edge.benchmarks.arm.guest import Counted
from edge.benchmarks.arm.operators import attribute
from edge.benchmarks.arm.operators import main as operators_main
from edge.benchmarks.arm.operators import text as operators_text
from edge.benchmarks.arm.report import MARKS, content, markdown, text
from edge.bundle import open_bundle
from edge.errors import EdgeError, InputError
from edge.runtime.golden import check_golden, golden_output

ROOT = Path(__file__).parents[2]
RESULTS, DOCUMENT = ROOT / "docs" / "results" / "arm.json", ROOT / "docs" / "arm.md"
BASELINE = ROOT / "benchmarks" / "arm" / "baseline.json"
COUNTER = ("vfma", "sfma", "dot", "mmla", "imla", "sve", "sme", "simd_other", "mem", "branch")

ARM = Path(os.environ.get("EDGE_ARM_PYTHON", "no EDGE_ARM_PYTHON"))
emulated = pytest.mark.skipif(
    not ARM.is_file() or shutil.which("qemu-aarch64") is None,
    reason="EDGE_ARM_PYTHON names no emulated Python, or qemu-aarch64 is missing",
)

counts = st.dictionaries(st.sampled_from(COUNTER), st.integers(0, 10**9))
totals = counts.map(lambda c: {"insns": sum(c.values()) + 17, **dict.fromkeys(COUNTER, 0), **c})


def budget(total: int = 1000, **classes: int) -> Budget:
    per_hop = {"total": total, **dict.fromkeys(CLASSES, 0), **classes}
    per_hop["other"] = total - sum(per_hop[name] for name in CLASSES)
    return Budget(
        key="tiny int8 pruned 0.5 onnx cortex-a76",
        name="tiny",
        precision="int8",
        prune_ratio=0.5,
        backend="onnx",
        core="cortex-a76",
        graph_sha256="a" * 64,
        golden_snr_db=90.0,
        golden_min_snr_db=25.0,
        hop_seconds=0.01,
        hops=5,
        per_hop=per_hop,
        per_second={name: 100.0 * count for name, count in per_hop.items()},
        first=1.5,
        largest=1.01,
        weight_bytes_per_second=4e6,
        repeats=[total, total + 1],
        tools={"onnxruntime": "1.0"},
    )


@given(totals, totals)
def test_classes_add_up_to_the_total(before, spent):
    after = {name: before[name] + spent[name] for name in before}
    found = by_class(before, after)
    assert found["total"] == spent["insns"]
    assert sum(found[name] for name in (*CLASSES, "other")) == found["total"]
    assert found["fma"] == spent["vfma"] + spent["sfma"] and found["other"] == 17


@given(st.lists(st.integers(1, 10**9), min_size=1))
def test_the_median_hop_is_one_of_the_hops(sizes):
    hops = [{"total": size, "fma": number} for number, size in enumerate(sizes)]
    median = median_hop(hops)
    assert median in hops
    assert sum(size < median["total"] for size in sizes) <= len(sizes) / 2
    assert sum(size > median["total"] for size in sizes) <= len(sizes) / 2


@pytest.mark.parametrize("fixture", ["enhancer_path", "separator_path"])
def test_what_is_counted_is_what_the_golden_check_checks(fixture, request):
    """The guest's graph on this machine: states carried in the binding, zero again where a stream begins."""
    bundle = open_bundle(request.getfixturevalue(fixture))
    graph = Counted(bundle, "onnx")
    assert check_golden(bundle, "onnx", graph) > 60
    golden = bundle.manifest.golden
    audio = bundle.read_f32(golden.input.file, golden.input.shape)
    again = golden_output(bundle.manifest, audio, graph, bundle.manifest.golden.stride)
    assert np.array_equal(again, bundle.read_f32(golden.outputs["onnx"].file, golden.outputs["onnx"].shape))
    assert graph.runs == (2 if bundle.manifest.task == "separate" else 20)


def test_what_the_counter_writes_becomes_runs(tmp_path):
    """Totals at begin and end of each run, in turn; what lies between two runs is nobody's."""
    file = tmp_path / "counts.txt"
    zero = " ".join(f"{name}=0" for name in COUNTER if name != "dot")
    steps = [(100, 0), (150, 7), (400, 7), (460, 9)]
    lines = [f"mark {i} insns={total} dot={dot} {zero}" for i, (total, dot) in enumerate(steps)]
    file.write_text("\n".join([*lines, f"exit 4 insns=999 dot=9 {zero}"]) + "\n")
    runs = runs_between(read_marks(file))
    assert [(run["total"], run["dot"]) for run in runs] == [(50, 7), (60, 2)]
    file.write_text("exit 0 insns=5\n")
    with pytest.raises(EdgeError, match="counted nothing"):
        read_marks(file)
    with pytest.raises(EdgeError, match="counted nothing"):
        read_marks(tmp_path / "nowhere")


def test_lower_bound_is_arithmetic_at_the_peak_rate():
    a76 = next(core for core in NAMED_CORES if core.name == "Cortex-A76")
    per_second = dict.fromkeys((*CLASSES, "other"), 0.0) | {"fma": 4.8e6, "dot": 4.8e6, "memory": 1e9}
    assert least_milliseconds(per_second, a76) == pytest.approx(2.0)
    assert {core.counted_on for core in NAMED_CORES} == set(CORES)


def test_the_baseline_accepts_the_tolerance_and_no_more(tmp_path):
    file = tmp_path / "baseline.json"
    save_baseline(file, [budget(10_000, dot=500)])
    baseline = load_baseline(file)
    assert not compare(budget(10_100, dot=500), baseline, 0.01).failed
    more = compare(dataclasses.replace(budget(10_101, dot=500), graph_sha256="b" * 64), baseline, 0.01)
    assert more.failed and "another graph" in more.message and "+1.01%" in more.message
    assert not compare(dataclasses.replace(budget(10_000, dot=500), graph_sha256="b" * 64), baseline, 0.01).failed
    less = compare(budget(5_000, dot=500), baseline, 0.01)
    assert not less.failed and "--update" in less.message


def test_an_int8_kernel_that_is_gone_fails_at_the_same_total(tmp_path):
    file = tmp_path / "baseline.json"
    save_baseline(file, [budget(10_000, dot=500)])
    found = compare(budget(10_000, fma=500), load_baseline(file), 0.01)
    assert found.failed and "dot instructions lost" in found.message and "fma +5.0%" in found.message


def test_an_update_keeps_what_was_not_measured(tmp_path):
    file = tmp_path / "baseline.json"
    other = dataclasses.replace(budget(7), key="other")
    save_baseline(file, [budget(10), other])
    save_baseline(file, [budget(20)])
    assert {key: entry.per_hop["total"] for key, entry in load_baseline(file).items()} == {budget().key: 20, "other": 7}
    with pytest.raises(InputError, match="not in the baseline"):
        compare(dataclasses.replace(budget(), key="third"), load_baseline(file), 0.01)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"cases": {"a": {"per_hop": {}}}}', '{"cases": {"a": 3}}'])
def test_a_file_that_is_no_baseline_is_bad_input(tmp_path, damage):
    file = tmp_path / "baseline.json"
    file.write_text(damage)
    with pytest.raises(InputError, match="not a baseline"):
        load_baseline(file)


def test_reports_name_every_case():
    report = json.loads(json.dumps(content([budget(), dataclasses.replace(budget(), core="i8mm")])))
    plain, tables = text(report), markdown(report)
    for shown in (plain, tables):
        assert "cortex-a76" in shown and "i8mm" in shown and "tiny" in shown
    assert "Cortex-X3" in tables and "Raspberry Pi 4" in tables
    assert len({line.count("|") for line in tables.split("\n\n")[1].splitlines()}) == 1


def test_the_tables_in_the_document_are_those_of_the_report():
    shown = MARKS.inside(DOCUMENT.read_text())
    assert shown == markdown(json.loads(RESULTS.read_text()))


def test_the_baseline_in_the_repository_has_int8_kernels():
    baseline = load_baseline(BASELINE)
    assert all(isinstance(entry, Entry) for entry in baseline.values())
    for key, entry in baseline.items():
        if " int8 " in key and "cortex-a53" not in key:
            assert entry.per_hop["dot"] + entry.per_hop["matrix"] > 0, key


def test_wrong_paths_are_told_in_one_line(enhancer_path, tmp_path, capsys, monkeypatch):
    def failing(*arguments: object) -> str:
        assert main([str(a) for a in arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "setup_arm.sh DEST" in failing(enhancer_path, "--arm", tmp_path / "nowhere")
    assert "setup_arm.sh DEST" in failing(enhancer_path, "--arm", tmp_path)
    assert "--check BASELINE" in failing(enhancer_path, "--arm", tmp_path, "--update")
    fake = fake_emulator(tmp_path, "", monkeypatch)
    assert "no such bundle" in failing(tmp_path / "nothing", "--arm", fake)
    assert "no executorch graph" in failing(enhancer_path, "--arm", fake, "--backend", "executorch")
    assert "no such baseline" in failing(enhancer_path, "--arm", fake, "--check", tmp_path / "none.json")
    monkeypatch.setenv("PATH", "")
    assert "apt-get install qemu-user" in failing(enhancer_path, "--arm", fake)


def test_a_graph_in_half_is_left_out_where_there_is_no_fp16(enhancer_path, tmp_path, capsys, monkeypatch):
    manifest = enhancer_path / "manifest.json"
    content = json.loads(manifest.read_text())
    content["graphs"]["onnx"]["layers"] = [dict(name="a", kind="conv", precision="fp16", reason="")]
    bundle = tmp_path / "half"
    shutil.copytree(enhancer_path, bundle)
    (bundle / "manifest.json").write_text(json.dumps(content))
    fake = fake_emulator(tmp_path, "sys.exit('ran')", monkeypatch)
    assert main([str(bundle), "--arm", str(fake), "--cpu", "cortex-a53"]) == 2
    error = capsys.readouterr().err
    assert "fp16, which cortex-a53 lacks" in error and "nothing is left to count" in error and "ran" not in error
    assert main([str(bundle), "--arm", str(fake)]) == 1
    assert capsys.readouterr().err.count("ran") == len(CORES) - 1


def fake_emulator(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `arm-python` that does what `body` (Python) says, and a qemu-aarch64 on PATH."""
    script = folder / "arm-python"
    script.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    qemu = folder / "qemu-aarch64"
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return script


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os.abort()", "abort"),
        ("sys.exit('No module named numpy')", "No module named numpy"),
        ("print('no json')", "gave no answer"),
        ('print(\'{"error": "golden check failed", "exit_code": 1}\')', "golden check failed"),
    ],
)
def test_failures_of_the_emulated_process_are_reported(enhancer_path, tmp_path, monkeypatch, capsys, body, message):
    fake = fake_emulator(tmp_path, body, monkeypatch)
    assert main([str(enhancer_path), "--arm", str(fake), "--cpu", "i8mm"]) == 1
    error = capsys.readouterr().err
    assert message in error and "tiny-enhance" in error and error.count("\n") == 1


@emulated
def test_a_bundle_on_an_emulated_core(enhancer_path):
    """Parity there, counts by class, and the same counts again."""
    found = measure(Case(open_bundle(enhancer_path), "onnx", "cortex-a76"), find_emulator(ARM), repeats=2)
    assert found.golden_snr_db > 60
    assert sum(found.per_hop[name] for name in (*CLASSES, "other")) == found.per_hop["total"] > 1000
    assert found.per_second["total"] == pytest.approx(found.per_hop["total"] / found.hop_seconds)
    assert max(found.repeats) / min(found.repeats) < 1.005 and found.largest < 2


@emulated
def test_check_and_update(enhancer_path, tmp_path, capsys):
    """Recorded counts pass; lower ones recorded by hand fail and say how to go on."""
    baseline, report = tmp_path / "baseline.json", tmp_path / "report.json"
    arguments = [str(enhancer_path), "--arm", str(ARM), "--cpu", "cortex-a53", "--check", str(baseline)]
    assert main([*arguments, "--update", "--json", str(report)]) == 0
    assert json.loads(report.read_text())["results"][0]["core"] == "cortex-a53"
    recorded = json.loads(baseline.read_text())
    assert main(arguments) == 0
    for entry in recorded["cases"].values():
        entry["per_hop"]["total"] = int(0.9 * entry["per_hop"]["total"])
    baseline.write_text(json.dumps(recorded))
    capsys.readouterr()
    assert main(arguments) == 1
    assert "accept it with --update" in capsys.readouterr().err


def test_operators_find_their_clock_readings():
    """Two readings a node among those of the whole run, and the profiler's own cost taken off."""
    rng = np.random.default_rng(0)
    costs = [int(cost) for cost in rng.integers(1_000, 1_000_000, 60)]
    clock, clocks = 0, [0, 40, 60_000]  # the run's own readings before the first node
    for cost in costs:
        clocks.append(clock := max(clock, clocks[-1]) + 8_000)
        clocks.append(clock := clock + cost + 20_000)
    clocks += [clock + 100, clock + 150]
    shapes = [{"float": [1, 4]}, {"int64": []}]
    events = [
        {
            "name": f"node{i}_kernel_time",
            "dur": cost // 100 + int(rng.integers(0, 50)),
            "args": {"op_name": "Mul", "input_type_shape": shapes, "output_type_shape": shapes[:1]},
        }
        for i, cost in enumerate(costs)
    ]
    nodes = attribute(events, clocks, plain=sum(costs))
    assert [node.instructions for node in nodes] == costs
    assert nodes[3].name == "node3" and nodes[3].inputs == [[1, 4], []] and nodes[3].outputs == [[1, 4]]
    assert "1x4 scalar -> 1x4" in operators_text(sum(costs), nodes, 2)
    with pytest.raises(EdgeError, match="clock readings"):
        attribute(events, clocks[: len(costs)], plain=1)


@emulated
def test_operators_of_a_bundle_on_an_emulated_core(enhancer_path, capsys):
    assert operators_main([str(enhancer_path), "--arm", str(ARM), "--cpu", "cortex-a53"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^Mul +1 ", shown, re.MULTILINE) and "1x320" in shown
