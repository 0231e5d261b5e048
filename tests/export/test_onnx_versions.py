"""ONNX graphs for every runtime: names, the lowest versions, and the golden check in old releases of ONNX Runtime."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.export.onnx_versions import least_runtime, lower_versions, readable_names, with_properties

ROOT = Path(__file__).parents[2]
EXAMPLES, SHIPPED = ROOT / "docs" / "examples", ROOT / "edge" / "bundles"


def model(nodes, opset=20, constants=None):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(np.array(v), n) for n, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize(
    ("nodes", "constants", "opset", "ir", "runtime"),
    [
        ([helper.make_node("Gelu", ["x"], ["y"])], {}, 20, 9, "1.17"),
        ([helper.make_node("ReduceMean", ["x", "axes"], ["y"])], {"axes": [1]}, 18, 8, "1.14"),
        ([helper.make_node("Reshape", ["x", "shape"], ["y"])], {"shape": [2, 2]}, 13, 7, "1.7"),
        ([helper.make_node("Pad", ["x", "pads"], ["y"])], {"pads": [0, 1, 0, 1]}, 13, 7, "1.7"),
        ([helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"])], {"pads": [1, 1], "axes": [1]}, 18, 8, "1.14"),
        ([helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)], {"shape": [2, 2]}, 19, 9, "1.15"),
    ],
)
def test_a_graph_declares_the_lowest_versions_that_say_the_same(nodes, constants, opset, ir, runtime):
    graph = model(nodes, constants=constants)
    x = np.array([[1, -2, 3, 0.5]], np.float32)
    graph.ir_version = 10
    before = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})[0]
    lowered = lower_versions(graph)
    assert (lowered.opset_import[0].version, lowered.ir_version, least_runtime(lowered)) == (opset, ir, runtime)
    after = onnxruntime.InferenceSession(lowered.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(before, after)


def test_every_node_has_a_readable_name_of_its_own():
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    nodes.append(helper.make_node("Neg", ["b"], ["y"], name="node_neg_3"))
    graph = model(nodes)
    graph.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'encoder.0', 'neg']")
    readable_names(graph)
    names = [node.name for node in graph.graph.node]
    assert names == ["encoder.0/Neg", "Neg", "Neg_2"]
    assert max(Counter(names).values()) == 1


def test_properties_are_text_or_json():
    data = with_properties(model([helper.make_node("Neg", ["x"], ["y"])]).SerializeToString(), {"a": "b", "hop": 3})
    assert {p.key: p.value for p in onnx.load_model_from_string(data).metadata_props} == {"a": "b", "hop": "3"}


CHECK = """
import sys, json; from pathlib import Path
sys.path.insert(0, sys.argv[1])
import onnxruntime
for bundle in map(Path, sys.argv[2:]):
    manifest = json.loads((bundle / "manifest.json").read_text())
    if manifest["task"] == "enhance":
        import enhance; enhance.check_golden(bundle, manifest, enhance.Enhancer(bundle, manifest))
    else:
        import separate
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(str(bundle / manifest["graphs"]["onnx"]["file"]), options)
        separate.check_golden(bundle, manifest, lambda mix: session.run(["stems"], {"mix": mix[None]})[0][0])
print(onnxruntime.__version__)
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Both shipped ones, and one of a small foreign network."""
    import torch
    from demucs_networks import build, package

    from edge.export.pipeline import ExportOptions, export_network
    from edge.zoo import load_model

    folder = tmp_path_factory.mktemp("bundles")
    torch.save(package(build()), folder / "m.th")
    model = load_model("foreign", [folder / "m.th"])
    export_network(model, ExportOptions(formats=("onnx",)), folder / "foreign")
    return [SHIPPED / "enhancer", SHIPPED / "htdemucs-mini", folder / "foreign"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.17.3", "1.20.1", "1.23.2", "present"])
def test_bundles_pass_the_golden_check_in_other_releases(tmp_path, bundles, version):
    python = sys.executable
    if version != "present":
        if sys.version_info >= (3, 13) or (version == "1.17.3" and sys.version_info >= (3, 12, 99)):
            pytest.skip("no wheel of this release for this Python")
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        python = tmp_path / "venv" / "bin" / "python"
        numpy = "numpy<2" if version == "1.17.3" else "numpy"
        subprocess.run([python, "-m", "pip", "install", "-q", f"onnxruntime=={version}", numpy], check=True)
    run = subprocess.run([python, "-c", CHECK, EXAMPLES, *bundles], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert version in (run.stdout.strip(), "present")


@pytest.mark.slow
def test_the_graphs_of_bundles_are_valid_and_say_what_they_are(bundles):
    for bundle in bundles:
        manifest = json.loads((bundle / "manifest.json").read_text())
        graph = onnx.load(bundle / "model.onnx")
        onnx.checker.check_model(graph, full_check=True)
        assert graph.ir_version <= 9 and graph.opset_import[0].version <= 20
        names = [node.name for node in graph.graph.node]
        assert all(names) and len(set(names)) == len(names)
        about = {p.key: p.value for p in graph.metadata_props}
        assert about["task"] == manifest["task"] and json.loads(about["sources"]) == manifest["sources"]
        assert json.loads(about["hop"]) == manifest["hop"] and json.loads(about["states"]) == manifest["states"]
        assert manifest["graphs"]["onnx"]["least_runtime"] in (bundle / "MODEL_CARD.md").read_text()
