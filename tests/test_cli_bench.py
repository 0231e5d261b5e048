"""edge-bench as a user runs it."""

import json
import subprocess
import sys

import pytest
from conftest import make_bundle

from edge.benchmarks.machine import fingerprint


def bench(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "edge.cli.bench", *map(str, arguments), "--seconds", "0.3"]
    return subprocess.run(command, capture_output=True, text=True)


def test_json_report(separator_path, both_enhancer_path):
    done = bench(separator_path, both_enhancer_path, "--json")
    assert done.returncode == 0 and done.stderr == ""
    report = json.loads(done.stdout)
    assert report["failures"] == [] and report["machine"]["processors"] >= 1
    cases = [(r["name"], r["backend"]) for r in report["results"]]
    assert cases == [("tiny-separate", "onnx"), ("tiny-enhance", "onnx"), ("tiny-enhance", "executorch")]
    for result in report["results"]:
        times = result["percentiles"]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        assert result["rtf"] == pytest.approx(times["p50"] / result["hop_seconds"])
        assert len(result["rtf_rounds"]) == 5 and result["hops"] >= 5
        assert result["golden_snr_db"] > 60
        assert 10e6 < result["peak_bytes"] < 2e9
        assert result["load_seconds"] > 0 and result["first_seconds"] > 0


def test_table_names_every_case_and_the_machine(separator_path, enhancer_path):
    done = bench(separator_path, enhancer_path, "--threads", 2)
    assert done.returncode == 0 and done.stderr == ""
    assert "RTF" in done.stdout and "tiny-separate" in done.stdout and "tiny-enhance" in done.stdout
    assert "2 thread(s)" in done.stdout and "onnxruntime" in done.stdout


def test_one_failure_does_not_stop_the_others(tmp_path, enhancer_path):
    """A golden check that fails is a failure (1); a bundle that is none is bad input (2)."""
    from edge.bundle import open_bundle, write_bundle

    wrong = open_bundle(make_bundle(tmp_path / "wrong", "separate"))
    files = {name: wrong.folder / name for name in wrong.manifest.files}
    files["golden/onnx.f32"] = bytes(wrong.manifest.files["golden/onnx.f32"].bytes)
    write_bundle(tmp_path / "wrong2", wrong.manifest, files)
    done = bench(tmp_path / "wrong2", enhancer_path)
    assert done.returncode == 1 and "golden check of onnx failed" in done.stderr
    assert done.stderr.count("\n") == 1 and "tiny-enhance" in done.stdout
    done = bench(tmp_path / "nowhere", enhancer_path)
    assert done.returncode == 2 and done.stderr == f"edge-bench: error: {tmp_path / 'nowhere'}: no such bundle\n"
    assert "tiny-enhance" in done.stdout
    done = bench(enhancer_path, "--backend", "executorch")
    assert done.returncode == 2 and "no executorch graph" in done.stderr


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
        "    report = runner.measure(cases, 1, 0.1)\n"
        "    print(len(report.results), [message for _, message, _ in report.failures])\n"
    )
    done = subprocess.run([sys.executable, script, enhancer_path], capture_output=True, text=True)
    assert done.stdout == "1 ['bad (onnx): the process died; the graph crashed it']\n", done.stderr


def test_fingerprint_and_memory():
    machine = fingerprint()
    assert machine["processor"] and machine["packages"]["numpy"]
    # in a process of its own: this one's peak may lie far above what it uses now
    code = """
from edge.benchmarks.worker import peak_memory_bytes
before = peak_memory_bytes()
block = bytearray(200_000_000)
block[::4096] = b"x" * len(block[::4096])
assert peak_memory_bytes() - before > 100e6
"""
    subprocess.run([sys.executable, "-c", code], check=True)
