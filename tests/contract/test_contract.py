"""What every architecture, backend and precision gets from the package: those of this folder as the shipped ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tasnet
import torch
import torchscript

from edge.bundle import open_bundle, snr_db
from edge.checkpoints import load_checkpoint, save_checkpoint
from edge.compression.architectures import pruning_of
from edge.compression.cost import macs_per_second, parameters
from edge.compression.prune import prune
from edge.errors import InputError
from edge.export.architectures import interface_of
from edge.export.graph import build_graph, example_inputs
from edge.export.lower import lower
from edge.export.pipeline import ExportOptions, export_network
from edge.models.architectures import ARCHITECTURES, architecture_of
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.runtime.files import run_file
from edge.runtime.golden import check_golden, golden_output
from edge.runtime.graphs import load_graph
from edge.runtime.session import open_session
from edge.zoo import Model

KINDS = ["htdemucs", "enhancer", "tasnet"]


@pytest.fixture(autouse=True, scope="module")
def from_outside():
    """The third of each, in no file of the package."""
    with tasnet.registered(), torchscript.registered():
        yield


def network_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(3)
    if kind == "htdemucs":
        small = dict(channels=8, bottom_channels=16, t_layers=2, t_heads=2, dconv_comp=2, segment=0.5)
        return HTDemucs(HTDemucsConfig(**small)).eval()  # type: ignore[arg-type]
    return Enhancer().eval() if kind == "enhancer" else tasnet.TasNet(tasnet.TasNetConfig()).eval()


def model_of(kind: str) -> Model:
    return Model(f"small-{kind}", network_of(kind), "MIT", "nothing")


def recording(network: torch.nn.Module, seconds: float = 0.7) -> np.ndarray:
    interface = interface_of(network)
    shape = () if interface.task == "enhance" else (interface.channels,)
    generator = np.random.default_rng(5)
    return (0.1 * generator.standard_normal((*shape, int(seconds * interface.sample_rate)))).astype(np.float32)


def of_one_run(network: torch.nn.Module) -> np.ndarray:
    interface = interface_of(network)
    return recording(network, 2)[..., : interface.segment or 20 * interface.hop]


@pytest.mark.parametrize("kind", KINDS)
def test_the_lowered_form_is_the_network(kind):
    network = network_of(kind)
    interface, audio = interface_of(network), of_one_run(network)
    lowered = lower(network, interface.segment, "onnx")

    @torch.inference_mode()
    def run(arrays):
        outputs = lowered(*(torch.from_numpy(a) for a in arrays))
        return [o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]

    expected = architecture_of(network).forward(network, audio)
    assert snr_db(expected, golden_output(interface, audio, run)) > 60


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_pruned_networks_run_reload_and_lower(kind, ratio, tmp_path):
    network = network_of(kind)
    small = prune(network, ratio, pruning_of(network).clips(network)[:1]).model
    assert type(small) is type(network) and (parameters(small) < parameters(network)) == (ratio > 0)
    assert macs_per_second(small).layers <= macs_per_second(network).layers
    save_checkpoint(tmp_path / "small.safetensors", small, {"prune_ratio": str(ratio)})
    again, audio = load_checkpoint(tmp_path / "small.safetensors"), recording(network)
    process = architecture_of(network).process
    np.testing.assert_array_equal(process(again, audio), process(small, audio))
    interface = interface_of(small)
    lowered = lower(small, interface.segment, "executorch")
    with torch.inference_mode():
        outputs = lowered(*example_inputs(interface))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert [tuple(o.shape) for o in outputs] == [spec.shape for spec in interface.outputs]


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_configuration_is_refused(kind, tmp_path):
    from safetensors.torch import save_file

    save_file(network_of(kind).state_dict(), tmp_path / "x", metadata={"model": "no-such", "config": "{}"})
    with pytest.raises(InputError, match="another model"):
        load_checkpoint(tmp_path / "x")


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory) -> Path:
    """The third architecture, pruned by half, in the precision that pays."""
    path = tmp_path_factory.mktemp("contract") / "bundle"
    export_network(model_of("tasnet"), ExportOptions(prune=0.5, formats=("onnx",)), path)
    return path


@pytest.mark.slow
def test_the_third_architecture_in_executorch(tmp_path):
    for precision, least in (("fp32", 60), ("int8", 8)):
        options = ExportOptions(prune=0.5, precision=precision, formats=("executorch",))
        export_network(model_of("tasnet"), options, tmp_path / precision)
        bundle = open_bundle(tmp_path / precision)
        assert bundle.manifest.precision == precision and bundle.manifest.parity["executorch"] > least
        assert check_golden(bundle, "executorch") > 60
        assert (bundle.manifest.graphs["executorch"].int8_layers() > 5) == (precision == "int8")


def test_the_third_architecture_becomes_a_bundle(bundle_path):
    manifest = open_bundle(bundle_path).manifest
    assert set(manifest.graphs) == {"onnx"} and manifest.task == "separate"
    assert all(graph.precision == "int8" and graph.int8_layers() > 5 for graph in manifest.graphs.values())
    assert all(manifest.parity[backend] > 8 for backend in manifest.graphs)
    assert manifest.compression.parameters.after < manifest.compression.parameters.before
    assert manifest.quality.values["before"] is not None
    for backend in manifest.graphs:
        assert check_golden(open_bundle(bundle_path), backend) > 60


def test_the_third_architecture_runs_on_files_and_in_streams(bundle_path, tmp_path):
    bundle, backend = open_bundle(bundle_path), "onnx"
    audio = recording(network_of("tasnet"), 1)
    soundfile.write(tmp_path / "song.wav", audio.T, 44100, "FLOAT")
    run_file(bundle, tmp_path / "song.wav", tmp_path / "stems", backend)
    stems, _ = soundfile.read(tmp_path / "stems" / "drums.wav", dtype="float32")
    assert stems.shape == audio.T.shape and np.isfinite(stems).all()
    session = open_session(bundle, backend, latency=0.15)
    whole = np.concatenate([session.process(audio), session.flush()], axis=-1)
    parts = [session.process(audio[:, at : at + 777]) for at in range(0, audio.shape[1], 777)]
    np.testing.assert_array_equal(np.concatenate([*parts, session.flush()], axis=-1), whole)


def test_streaming_equals_offline_for_the_third_architecture(tmp_path):
    model = model_of("tasnet")
    export_network(model, ExportOptions(precision="fp32", formats=("onnx",)), tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    audio = recording(model.network, 1)
    statistics = tasnet.Statistics()
    statistics.update(audio.T)
    session = open_session(bundle, "onnx", statistics=statistics)
    parts = [session.process(audio[:, at : at + 777]) for at in range(0, audio.shape[1], 777)]
    streamed = np.concatenate([*parts, session.flush()], axis=-1)
    assert snr_db(architecture_of(model.network).process(model.network, audio), streamed) > 60


@pytest.mark.slow
def test_the_third_architecture_is_benchmarked_and_reported(bundle_path, tmp_path):
    from edge.benchmarks.compression import report
    from edge.benchmarks.runner import Case, measure

    measured = measure([Case(bundle_path, "onnx", 1)], 0.3)
    assert not measured.failures and all(result.rtf > 0 for result in measured.results)
    options = report.ReportOptions(ExportOptions(formats=("onnx",)), (0.5, 0.0), ("fp32", "auto"), seconds=0.0)
    (told,) = report.run([model_of("tasnet")], options, tmp_path)["models"]
    assert len(told["variants"]) == 4 and not told["failures"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_third_backend_takes_every_architecture(kind, tmp_path):
    model = model_of(kind)
    export_network(model, ExportOptions(precision="fp32", formats=("torchscript",)), tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.parity["torchscript"] > 60 and (tmp_path / "b" / "model.pt").is_file()
    assert check_golden(bundle, "torchscript") > 60
    audio = recording(model.network)
    graph = load_graph(bundle, "torchscript")
    assert [o.shape for o in graph([a.numpy() for a in example_inputs(bundle.manifest)])] == [
        spec.shape for spec in bundle.manifest.outputs
    ]
    session = open_session(bundle, "torchscript", latency=None if kind == "enhancer" else 0.15)
    out = np.concatenate([session.process(audio), session.flush()], axis=-1)
    assert out.shape[-1] == audio.shape[-1] and session.counts.bad_outputs == 0


@pytest.mark.parametrize("kind", ["enhancer", "tasnet"])
def test_the_third_precision_is_planned_stored_and_read_back(kind, tmp_path):
    model = model_of(kind)
    export_network(model, ExportOptions(precision="int4", formats=("torchscript",)), tmp_path / "b")
    manifest = open_bundle(tmp_path / "b").manifest
    graph = manifest.graphs["torchscript"]
    assert manifest.precision == graph.precision == "int4"
    assert {layer.precision for layer in graph.layers} <= {"int4-weights", "fp32"}
    whole = build_graph(model.network, interface_of(model.network), "torchscript", "fp32", [])
    assert graph.weight_bytes < 0.7 * whole.record.weight_bytes
    assert 5 < manifest.parity["torchscript"] < 60


def test_what_nobody_registered_is_refused_by_name():
    network = network_of("tasnet")
    for arguments in (("tflite", "fp32"), ("onnx", "int2")):
        with pytest.raises(InputError, match=r"unknown .* known: "):
            build_graph(network, interface_of(network), *arguments, [])
    with pytest.raises(InputError, match="unknown target"):
        build_graph(network, interface_of(network), "onnx", "fp32", [], "riscv")
    assert set(KINDS) == set(ARCHITECTURES)
