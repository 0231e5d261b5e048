"""What a graph takes of the memory, and that saving it changes no sample."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.backends import import_backend
from edge.backends.onnx import Onnx
from edge.benchmarks.memory import measure_memory
from edge.bundle import open_bundle
from edge.errors import EdgeError
from edge.runtime.graphs import load_file, load_graph


def test_the_shipped_separator_fits():
    """ONNX Runtime's own settings take 300 MB for it."""
    memory = measure_memory(open_bundle("htdemucs-mini"), "onnx")
    assert memory.peak_bytes - memory.before_bytes < 150e6
    assert memory.before_bytes < 80e6 and not memory.torch


@pytest.mark.parametrize("threads", [1, 2])
def test_settings_for_segments_change_no_sample(separator_path, threads):
    bundle = open_bundle(separator_path)
    import_backend("onnx")
    file = str(bundle.graph_path("onnx"))
    [mix] = bundle.manifest.inputs
    audio = [np.random.default_rng(0).standard_normal(mix.shape, dtype=np.float32)]
    [expected] = Onnx(file, threads).run(audio)
    spared = Onnx(file, threads, long=True)
    for _ in range(3):
        np.testing.assert_array_equal(spared.run(audio)[0], expected)
    second = Onnx(file, threads, long=True)  # shares the allocator
    del spared
    np.testing.assert_array_equal(second.run(audio)[0], expected)


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_a_loaded_graph_no_longer_needs_its_file(both_enhancer_path, tmp_path, backend):
    """Bundles that come as one file are unpacked to a folder, which may go."""
    bundle = open_bundle(both_enhancer_path)
    file = Path(shutil.copy(bundle.graph_path(backend), tmp_path))
    inputs = [np.ones(spec.shape, np.float32) for spec in bundle.manifest.inputs]
    graph = load_file(file, backend, bundle.manifest)
    file.unlink()
    expected = load_graph(bundle, backend)(inputs)
    for one, other in zip(graph(inputs), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_graph_that_does_not_load_is_told_in_one_line(separator_path, tmp_path):
    folder = shutil.copytree(separator_path, tmp_path / "bad")
    bundle = open_bundle(folder)
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EdgeError, match=r"model\.onnx does not load in onnx") as told:
        measure_memory(bundle, "onnx")
    assert "\n" not in str(told.value)
