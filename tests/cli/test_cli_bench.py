"""edge-bench as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_bundle

from edge.benchmarks.machine import fingerprint
from edge.errors import InputError
from edge.native import load_library

SCHEMA = json.loads((Path(__file__).parents[2] / "benchmarks" / "report.schema.json").read_text())


def native_library() -> bool:
    try:
        load_library()
    except InputError:
        return False
    return True


def bench(*arguments, seconds=0.3) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "edge.cli.bench", *map(str, arguments)]
    return subprocess.run([*command, "--seconds", str(seconds), "--launches", "1"], capture_output=True, text=True)


def valid(report) -> dict:
    """The report, checked against the schema that every device's report must meet."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    return report


def test_json_report(separator_path, both_enhancer_path, tmp_path):
    file = tmp_path / "report.json"
    done = bench(separator_path, both_enhancer_path, "--json", file, "--html", tmp_path / "report.html")
    assert done.returncode == 0 and done.stderr == "" and "RTF" in done.stdout
    report = valid(json.loads(file.read_text()))
    assert report["failures"] == [] and report["machine"]["processors"] >= 1
    assert report["settings"]["baseline"] == str(separator_path)
    cases = [(r["name"], r["backend"]) for r in report["results"]]
    assert cases == [("tiny-separate", "onnx"), ("tiny-enhance", "onnx"), ("tiny-enhance", "executorch")]
    for result in report["results"]:
        times = result["hop_time"]
        assert 0 < times["min"] <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        assert [result["hop_quantiles"][i] for i in (0, 10, 20)] == pytest.approx(
            [times["min"], times["p50"], times["max"]]
        )
        assert result["rtf"] == pytest.approx(times["p50"] / result["hop_seconds"])
        assert len(result["rtf_rounds"]) == report["settings"]["rounds"] and result["hops"] >= 6
        assert result["golden_snr_db"] > 60
        memory = result["memory"]
        assert 10e6 < memory["before_bytes"] <= memory["load_bytes"] <= memory["peak_bytes"] < 2e9
        assert 10e6 < memory["held_bytes"] <= memory["load_bytes"]
        assert result["peak_bytes"] == memory["peak_bytes"]
        assert result["load_seconds"] > 0 and result["first_seconds"] > 0
        assert result["floor"]["compute_seconds"] >= 0 and result["floor"]["times"] > 0
    separate, onnx, executorch = report["results"]
    assert separate["ratio"]["value"] == 1.0 and separate["overhead_seconds"] is None
    assert executorch["ratio"] is None  # the baseline has no executorch graph
    assert 0 < onnx["overhead_share_of_work"] <= 1
    assert separate["native_seconds"] is None
    if native_library():
        assert 0 < onnx["native_seconds"] < 1 and "native ms" in done.stdout
    else:
        assert onnx["native_seconds"] is None and "native ms" not in done.stdout
    assert {p["probe"] for p in report["peaks"]} == {"matmul", "conv", "row-1MB", "row-8MB"}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 4 and "tiny-separate" in page
    assert not any(word in page for word in ("http", "src=", "href=", "@import"))


def test_threads_baseline_and_profile(enhancer_path, separator_path):
    done = bench(separator_path, enhancer_path, "--threads", "1,2", "--no-floor", "--profile", "--json",
                 "--baseline", f"{separator_path}:onnx:1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = valid(json.loads(done.stdout))
    assert report["settings"]["threads"] == [1, 2] and report["peaks"] == []
    results = report["results"]
    assert [(r["name"], r["threads"]) for r in results] == [
        ("tiny-separate", 1), ("tiny-separate", 2), ("tiny-enhance", 1), ("tiny-enhance", 2),
    ]  # fmt: skip
    for result in results:
        ratios = sorted(a / b for a, b in zip(result["rtf_rounds"], results[0]["rtf_rounds"], strict=True))
        assert ratios[0] <= result["ratio"]["low"] <= result["ratio"]["value"] <= result["ratio"]["high"] <= ratios[-1]
        assert result["floor"] is None
        assert any("Mul" in entry["operators"] for entry in result["profile"]["entries"])
        assert sum(entry["share"] for entry in result["profile"]["entries"]) == pytest.approx(1)
        memory = result["graph_memory"]
        assert 0 < memory["rest_bytes"] <= memory["used_bytes"] <= memory["reserved_bytes"]
        assert memory["entries"][0]["bytes"] == memory["used_bytes"]


def test_table_names_every_case_and_the_machine(separator_path, enhancer_path):
    done = bench(separator_path, enhancer_path, "--threads", 2, "--no-floor")
    assert done.returncode == 0 and done.stderr == ""
    assert "before the graph" in done.stdout and "memory: resident" in done.stdout
    assert "RTF" in done.stdout and "tiny-separate" in done.stdout and "tiny-enhance" in done.stdout
    assert "2 thread(s)" in done.stdout and "onnxruntime" in done.stdout


def test_one_failure_does_not_stop_the_others(tmp_path, enhancer_path):
    """A golden check that fails is a failure (1); a bundle that is none is bad input (2)."""
    from edge.bundle import open_bundle, write_bundle

    wrong = open_bundle(make_bundle(tmp_path / "wrong", "separate"))
    files = {name: wrong.folder / name for name in wrong.manifest.files}
    files["golden/onnx.f32"] = bytes(wrong.manifest.files["golden/onnx.f32"].bytes)
    write_bundle(tmp_path / "wrong2", wrong.manifest, files)
    done = bench(tmp_path / "wrong2", enhancer_path, "--no-floor", "--json", tmp_path / "r.json")
    assert done.returncode == 1 and "golden check of onnx failed" in done.stderr
    assert done.stderr.count("\n") == 1 and "tiny-enhance" in done.stdout
    report = valid(json.loads((tmp_path / "r.json").read_text()))
    assert [r["name"] for r in report["results"]] == ["tiny-enhance"]
    assert [f["bundle"] for f in report["failures"]] == [str(tmp_path / "wrong2")]
    done = bench(tmp_path / "nowhere", enhancer_path, "--no-floor")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"edge-bench: error: {tmp_path / 'nowhere'}: no such bundle; by name there are ")
    assert "tiny-enhance" in done.stdout
    done = bench(enhancer_path, "--backend", "executorch")
    assert done.returncode == 2 and "no executorch graph" in done.stderr


@pytest.mark.parametrize("option", [("--baseline", "elsewhere"), ("--threads", "0"), ("--json", "FOLDER")])
def test_bad_options_are_told_in_one_line(enhancer_path, tmp_path, option):
    done = bench(enhancer_path, "--no-floor", *(tmp_path if word == "FOLDER" else word for word in option))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("edge-bench: error: ")


def test_a_crash_of_the_graph_is_contained(enhancer_path, tmp_path):
    """A segmentation fault in a runtime must not take the report along."""
    script = tmp_path / "crash.py"
    script.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edge.benchmarks import runner, worker\n"
        "def crash(connection, path, backend, threads):\n"
        "    if 'bad' in path:\n"
        "        os.abort()\n"
        "    worker_serve(connection, path, backend, threads)\n"
        "worker_serve, worker.serve = worker.serve, crash\n"
        "if __name__ == '__main__':\n"
        "    cases = [runner.Case(Path('bad'), 'onnx'), runner.Case(Path(sys.argv[1]), 'onnx')]\n"
        "    report = runner.measure(cases, 0.1, launches=1)\n"
        "    print(len(report.results), [failure.error for failure in report.failures])\n"
    )
    done = subprocess.run([sys.executable, script, enhancer_path], capture_output=True, text=True)
    assert done.stdout == "1 ['bad (onnx): the process died; the graph crashed it']\n", done.stderr


def test_fingerprint_and_memory():
    machine = fingerprint()
    assert machine["processor"] and machine["packages"]["numpy"]
    # in a process of its own: this one's peak may lie far above what it uses now
    code = """
from edge.benchmarks.memory import peak_memory_bytes
before = peak_memory_bytes()
block = bytearray(200_000_000)
block[::4096] = b"x" * len(block[::4096])
assert peak_memory_bytes() - before > 100e6
"""
    subprocess.run([sys.executable, "-c", code], check=True)
