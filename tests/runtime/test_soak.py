"""Long runs, short here: the soak test and the latency table as commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(module: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True)


def check(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["problems"] == [] and report["not_finite_out"] == 0
    assert report["samples_in"] == report["samples_out"] == round(16000 * 3600 * report["hours"])
    return report


def test_a_few_minutes_of_everything(enhancer_path):
    report = check(run("edge.benchmarks.soak", enhancer_path, "--hours", 0.5, "--json"))
    assert report["faulty_in"] > 0 and report["inferences"] < report["hops"]


@pytest.mark.slow
def test_a_day_of_audio(enhancer_path):
    """EDGE_BUNDLE names a real enhancer."""
    bundle = Path(os.environ.get("EDGE_BUNDLE", enhancer_path))
    check(run("edge.benchmarks.soak", bundle, "--hours", 24, "--json"))


def test_soak_is_for_enhancers(separator_path):
    done = run("edge.benchmarks.soak", separator_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_latency_table(separator_path):
    """SDR of fixed gains is known: stems that are a tenth of a sum of four are bad at every latency alike."""
    done = run("edge.benchmarks.latency", separator_path, "--latencies", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    file, live = json.loads(done.stdout)
    assert file["latency"] is None and live["latency"] == 0.1 and live["hop"] == pytest.approx(0.05, abs=1e-4)
    assert live["sdr"] == pytest.approx(file["sdr"], abs=0.05) and live["rtf"] > 0
    table = run("edge.benchmarks.latency", separator_path, "--latencies", "0.1").stdout.splitlines()
    assert table[0].startswith("| latency, s |") and len(table) == 4


def test_latency_table_of_a_folder_without_stems(separator_path, tmp_path):
    done = run("edge.benchmarks.latency", separator_path, tmp_path)
    assert done.returncode == 2 and "no drums.wav" in done.stderr and done.stderr.count("\n") == 1
