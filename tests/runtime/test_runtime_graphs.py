"""Both backends run the same bundle alike, nothing of the runtime needs torch, and failures are one line."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import GAINS, HOP, SEGMENT, make_bundle

import edge.bundles
from edge.backends import backend_named, executorch
from edge.bundle import open_bundle
from edge.errors import EdgeError, InputError
from edge.runtime.golden import check_golden
from edge.runtime.graphs import default_backend, load_graph

BACKENDS = ["onnx", "executorch"]
SHIPPED = Path(edge.bundles.__file__).parent


@pytest.mark.parametrize("backend", BACKENDS)
def test_separator_graph(both_separator_path, backend):
    bundle = open_bundle(both_separator_path)
    assert check_golden(bundle, backend) > 60
    graph = load_graph(bundle, backend)
    mix = np.random.default_rng(0).standard_normal((1, 2, SEGMENT)).astype(np.float32)
    (first,) = graph([mix])
    np.testing.assert_allclose(first[0], GAINS[:, None, None] * mix, rtol=1e-5, atol=1e-7)
    kept = first.copy()
    graph([-mix])
    np.testing.assert_array_equal(first, kept)  # results belong to the caller


@pytest.mark.parametrize("backend", BACKENDS)
def test_enhancer_graph_carries_its_state(both_enhancer_path, backend):
    bundle = open_bundle(both_enhancer_path)
    assert check_golden(bundle, backend) > 60
    graph = load_graph(bundle, backend, threads=2)
    audio = np.random.default_rng(0).standard_normal((3, 1, HOP)).astype(np.float32)
    state = np.zeros((1, HOP), np.float32)
    for i in range(3):
        enhanced, state = graph([audio[i], state])
        np.testing.assert_allclose(enhanced, 0.5 * (audio[i - 1] if i else 0 * audio[0]), rtol=1e-6)


def test_default_backend_is_onnx(both_enhancer_path):
    assert default_backend(open_bundle(both_enhancer_path)) == "onnx"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_that_does_not_load(tmp_path, backend):
    make_bundle(tmp_path / "b", "separate", {"executorch": b"this is no program" * 10})
    bundle = open_bundle(tmp_path / "b")
    bundle.graph_path(backend).write_bytes(b"junk" * 100)  # after the check, as a bad exporter would leave it
    with pytest.raises(EdgeError, match=f"does not load in {backend}") as caught:
        load_graph(bundle, backend)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_of_another_release_names_both(tmp_path, backend):
    """A file tells the version of its format where it begins; a later one than the runtime's is refused by it."""
    make_bundle(tmp_path / "b", "separate", {"executorch": b"this is no program" * 10})
    bundle, runtime = open_bundle(tmp_path / "b"), backend_named(backend)
    content = (SHIPPED / "enhancer" / runtime.file).read_bytes()
    place, later = {"executorch": (slice(4, 8), b"ET99"), "onnx": (slice(0, 2), b"\x08\x63")}[backend]
    assert content[place][:1] == later[:1]
    bundle.graph_path(backend).write_bytes(content[: place.start] + later + content[place.stop :])
    installed = importlib.metadata.version(runtime.package)
    for made, told in (("0.0.1", f"(made with {runtime.package} 0.0.1; installed: {installed})"), (installed, "made")):
        bundle.manifest.tools[runtime.package] = made
        with pytest.raises(EdgeError, match=f"does not load in {backend}") as caught:
            load_graph(bundle, backend)
        assert (told in str(caught.value)) == (made != installed)


def test_a_graph_that_does_not_run(separator_bundle):
    graph = load_graph(separator_bundle, "onnx")
    with pytest.raises(EdgeError, match="failed in onnx"):
        graph([np.zeros((1, 1, 5), np.float32)])


def test_missing_executorch_says_what_to_install(both_separator_path, monkeypatch):
    monkeypatch.setattr(executorch, "executorch_package", lambda: None)
    with pytest.raises(InputError, match=r'pip install "stem-edge\[executorch\]"'):
        load_graph(open_bundle(both_separator_path), "executorch")


WITHOUT_TORCH = """
import os, sys
sys.modules["torch"] = None  # an import of it raises ImportError
import edge, edge.bundle, edge.audio, edge.runtime.files, edge.benchmarks.runner, edge.benchmarks.worker
import edge.runtime.live, edge.runtime.pipes, edge.benchmarks.soak, edge.serve.protocol
import edge.cli.bench, edge.cli.run, edge.cli.live, edge.cli.serve
from edge.backends import import_backend
import_backend("onnx")
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
sys.exit(edge.cli.run.main(sys.argv[1:]))
"""


def test_the_runtime_runs_without_torch(enhancer_path, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "x.wav", np.zeros(1000), 16000)
    arguments = [str(enhancer_path), str(tmp_path / "x.wav"), "-o", str(tmp_path / "y.wav")]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "y.wav").frames == 1000


def test_executorch_without_torch_is_a_clear_error(both_enhancer_path, tmp_path):
    import soundfile

    if executorch.executorch_package() != "executorch":
        pytest.skip("the torch-free package is installed")
    soundfile.write(tmp_path / "x.wav", np.zeros(1000), 16000)
    arguments = [str(both_enhancer_path), str(tmp_path / "x.wav"), "--backend", "executorch"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install" in done.stderr


def test_int8_products_do_not_overflow():
    """Whatever the processor: x86 without VNNI would add them in 16 bits, and differ from every other device."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from edge.backends.onnx import Onnx

    weights = np.full((384, 4), 127, np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["y"]),
    ]
    infos = [("q", TensorProto.UINT8, [1, 384]), ("zero", TensorProto.UINT8, []), ("y", TensorProto.INT32, [1, 4])]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 384])],
        [helper.make_tensor_value_info(*info) for info in infos],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    quantized, zero, product = Onnx(model.SerializeToString(), 1).run([np.linspace(0, 1, 384, dtype=np.float32)[None]])
    np.testing.assert_array_equal(product, (quantized.astype(np.int64) - int(zero)) @ weights.astype(np.int64))
