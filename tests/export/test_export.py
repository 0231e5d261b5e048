"""Export end to end: bundles that open, run and match torch; int8 that is int8; failures that leave nothing."""

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import open_bundle, snr_db
from edge.checkpoints import save_checkpoint
from edge.compression.cost import parameters, weight_bytes
from edge.compression.int8 import WIDE_RANGE, PlannedLayer, require_all
from edge.compression.int8_onnx import approximate_gelu
from edge.compression.precisions import plan_precision
from edge.compression.ranges import calibrated_ranges
from edge.errors import EdgeError, InputError
from edge.export import pipeline
from edge.export.architectures import interface_of
from edge.export.graph import build_graph, example_inputs
from edge.export.lower import lower
from edge.export.pipeline import ExportOptions, check_options, export_network
from edge.models.enhancer import Enhancer, EnhancerConfig
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.runtime.golden import check_golden
from edge.runtime.graphs import load_graph
from edge.runtime.streams import EnhancerStream
from edge.zoo import Model, load_model

TINY = HTDemucsConfig(
    segment=Fraction(1), channels=8, bottom_channels=32, t_layers=2, t_heads=4, dconv_depth=1, t_scale_init=0.1
)


def separator() -> Model:
    torch.manual_seed(0)
    return Model("tiny", HTDemucs(TINY).eval(), "MIT", "none")


def enhancer() -> Model:
    torch.manual_seed(0)
    return Model("enhancer", Enhancer().eval(), "MIT", "none")


@pytest.mark.parametrize("make", [separator, enhancer])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnx_bundle(make, precision, tmp_path):
    model = make()
    options = ExportOptions(prune=0.5, precision=precision, formats=("onnx",))
    export_network(model, options, tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    manifest = bundle.manifest
    assert check_golden(bundle, "onnx") > 60
    assert manifest.parity["onnx"] > (60 if precision == "fp32" else 8)
    macs = manifest.compression.macs_per_second
    assert macs.after < (0.6 if model.name != "enhancer" else 0.75) * macs.before  # its filterbank stays
    assert (tmp_path / "b" / "MODEL_CARD.md").read_text().startswith("# ")
    layers = manifest.graphs["onnx"].layers
    calibration = manifest.compression.calibration
    assert (calibration is not None) == any(layer.precision == "int8-static" for layer in layers)
    if calibration:
        assert calibration["seed"] == 0 and calibration["segment_seconds"] == 1.0 and calibration["segments"] == 8
    assert manifest.compression.cpu == ("arm64" if precision == "int8" else None)
    if precision == "int8":
        assert all(layer.precision.startswith("int8") or layer.reason for layer in layers)
        stored = onnx.load(bundle.graph_path("onnx"))
        int8 = sum(np.prod(i.dims) for i in stored.graph.initializer if i.data_type == onnx.TensorProto.INT8)
        planned = sum(p.weights for p in plan(_lowered(model), "onnx", manifest.segment) if p.precision != "fp32")
        assert int8 >= planned  # every weight asked for is stored as int8
    else:
        assert {layer.precision for layer in layers} == {"fp32"}


def plan(lowered, backend, segment=None, cpu="arm64"):
    example = torch.zeros(1, 2, segment) if segment else torch.zeros(1, EnhancerConfig().hop)
    states = [] if segment else list(lowered.init_state().values())
    return plan_precision(lowered, "int8", backend, cpu, (example, *states))


def _lowered(model: Model):
    from edge.compression.prune import prune

    small = prune(model.network, 0.5).model
    return lower(small, interface_of(small).segment, "onnx")


def test_weight_bytes_are_what_the_file_holds():
    model = enhancer()
    for precision in ("fp32", "int8"):
        graph = build_graph(model.network, interface_of(model.network), "onnx", precision, [])
        held = sum(len(i.raw_data) for i in onnx.load_from_string(graph.data).graph.initializer)
        assert graph.record.weight_bytes == pytest.approx(held, rel=0.04)


@pytest.mark.parametrize(("backend", "more"), [("onnx", 0.005), ("executorch", 0.03)])  # zero taps, norms as columns
def test_weight_bytes_are_those_of_the_parameters_in_every_precision(backend, more):
    network = load_model("htdemucs-mini").network
    interface, whole = interface_of(network), 4 * parameters(network)
    lowered = lower(network, interface.segment, backend)
    example = example_inputs(interface)
    planned = {p: plan_precision(lowered, p, backend, "arm64", example) for p in ("fp32", "int8")}
    assert whole <= weight_bytes(lowered, planned["fp32"]) <= (1 + more) * whole
    assert 0.25 * whole < weight_bytes(lowered, planned["int8"]) < 0.35 * whole


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """An fp32 enhancer bundle's graph, and the network that it came from."""
    model = enhancer()
    folder = tmp_path_factory.mktemp("streamed") / "b"
    export_network(model, ExportOptions(precision="fp32", formats=("onnx",)), folder)
    bundle = open_bundle(folder)
    return bundle.manifest, load_graph(bundle, "onnx"), model.network


@given(st.lists(st.integers(1, 700), min_size=1, max_size=12), st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_streaming_the_graph_equals_offline_for_any_chopping(streamed, chunks, seed):
    manifest, graph, network = streamed
    audio = (np.random.default_rng(seed).standard_normal(sum(chunks)) * 0.1).astype(np.float32)
    stream = EnhancerStream(manifest, graph)
    pieces = [stream.process(part) for part in np.split(audio, np.cumsum(chunks)[:-1])]
    got = np.concatenate([*pieces, stream.flush()])
    with torch.inference_mode():
        expected = network.enhance(torch.from_numpy(audio[None]))[0].numpy()
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("make", [separator, enhancer])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_executorch_bundle(make, precision, tmp_path):
    export_network(make(), ExportOptions(prune=0.3, precision=precision), tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    for target in ("onnx", "executorch"):
        assert check_golden(bundle, target) > 60
        assert bundle.manifest.parity[target] > (60 if precision == "fp32" else 8)
    ops = bundle.manifest.graphs["executorch"].ops
    assert ops["delegated"] > 100 * sum(v for k, v in ops.items() if k not in ("delegated", "subgraphs"))
    assert (
        bundle.manifest.graphs["executorch"].delegated_macs == 1
        and bundle.manifest.graphs["onnx"].delegated_macs is None
    )


def test_executorch_int8_stays_on_the_layers_asked_for():
    from edge.compression.int8_executorch import _WEIGHTED, quantize_pt2e

    segment = 16384
    lowered = lower(separator().network, segment, "executorch")
    audio = torch.randn(1, 2, segment, generator=torch.Generator().manual_seed(0)) * 0.3
    planned = plan_precision(lowered, "int8", "executorch", "arm64", (audio,), [(audio,)])
    quantized, achieved = quantize_pt2e(lowered, planned, (audio,))
    require_all(planned, achieved, "graph")
    for node in quantized.graph.nodes:
        if "quantized_decomposed.dequantize_per_tensor" not in str(node.target):
            continue
        source = node.args[0].args[0]  # of the quantize node before it
        assert source.target in _WEIGHTED or all(user.target in _WEIGHTED for user in node.users)
    with torch.inference_mode():
        assert snr_db(lowered(audio).numpy(), quantized(audio).numpy()) > 20


class Rectified(torch.nn.Module):
    """Convolutions with a ReLU right behind them: of its own, in place, and beside another user."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(8, 8, (1, 3), padding=(0, 1)) for _ in range(3))
        self.up = torch.nn.ConvTranspose2d(8, 8, (1, 2), (1, 2))

    def forward(self, x):
        x = torch.relu(self.convs[0](x))
        x = self.convs[1](x)
        x = x + self.convs[2](torch.relu(x))
        return torch.relu_(self.up(x))


def test_executorch_int8_of_convolutions_before_a_relu(tmp_path):
    from edge.backends.executorch import ExecutorchTorch
    from edge.export.to_executorch import to_executorch

    module = Rectified().eval().requires_grad_(False)
    x = torch.randn(1, 8, 1, 256, generator=torch.Generator().manual_seed(1))
    planned = plan_precision(module, "int8", "executorch", "arm64", (x,), [(x,)])
    assert {layer.precision for layer in planned} == {"int8-static"}
    exported = to_executorch(module, (x,), planned)
    require_all(planned, exported.achieved, "graph")
    (tmp_path / "model.pte").write_bytes(exported.data)
    (got,) = ExecutorchTorch(str(tmp_path / "model.pte"), 1).run([x.numpy()])
    assert exported.delegated_macs == 1 and snr_db(module(x).numpy(), got) > 30


@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_executorch_int8_keeps_weak_high_bins_beside_strong_low_ones(level):
    """60 dB apart, as in speech: with one scale for both, the high ones would be rounded to nothing."""
    from edge.compression.int8_executorch import quantize_pt2e

    config = EnhancerConfig()
    synthesis = lower(Enhancer(config), None, "executorch").synthesis
    generator = torch.Generator().manual_seed(0)
    real, imag = (level * torch.randn(1, config.hop, generator=generator) for _ in range(2))
    strong = torch.arange(config.hop) < synthesis.split
    real, imag = (torch.where(strong, part, 1e-3 * part) for part in (real, imag))
    planned = plan_precision(synthesis, "int8", "executorch", "arm64", (real, imag))
    assert {layer.precision for layer in planned} == {"int8-dynamic"}
    quantized, _ = quantize_pt2e(synthesis, planned, (real, imag))

    def weak(module):  # what the high bins add
        with torch.inference_mode():
            return (module(real, imag) - module(real * strong, imag * strong)).numpy()

    assert snr_db(weak(synthesis), weak(quantized)) > 30


def test_segment_option_and_states(tmp_path):
    model = separator()
    export_network(model, ExportOptions(precision="fp32", formats=("onnx",), segment=0.75), tmp_path / "b.edge")
    bundle = open_bundle(tmp_path / "b.edge")
    assert bundle.manifest.segment == 33075
    run = load_graph(bundle, "onnx")
    mix = np.random.default_rng(0).standard_normal((1, 2, 33075)).astype(np.float32)
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(mix)).numpy()
    assert snr_db(expected, run([mix])[0]) > 100
    for seconds in (0.01, 1000):
        with pytest.raises(InputError, match="segment"):
            interface_of(model.network, seconds)


def test_a_layer_that_stays_float_fails_the_export():
    planned = plan(lower(enhancer().network, None, "onnx"), "onnx")
    achieved = {p.name: p.precision for p in planned}
    assert len(require_all(planned, achieved, "g")) == len(planned)
    achieved[planned[3].name] = "fp32"
    with pytest.raises(EdgeError, match=planned[3].name):
        require_all(planned, achieved, "g")


def test_int8_arithmetic_is_for_layers_that_it_makes_cheaper():
    """Large products per element that must be converted: int8; small ones: only stored so. On x86: none in ONNX."""
    network = HTDemucs(HTDemucsConfig(segment=Fraction(1))).eval()
    lowered = lower(network, 44100, "onnx")
    arm = {p.name: p for p in plan(lowered, "onnx", 44100)}
    assert arm["layers.0.linear1"].precision == "int8-dynamic"  # 512 x 2048
    assert arm["decoder.0.rewrite.value"].precision == "int8-static"  # 384 x 384 x 3 x 3
    small = arm["encoder.0.dconv.0.narrow"]  # 48 x 6 x 3
    assert small.precision == "int8-weights" and small.reason
    assert arm["encoder.0.conv"].precision == "fp32"  # the first convolution
    assert not any(p.precision in ("int8-static", "int8-dynamic") for p in plan(lowered, "onnx", 44100, "x86"))
    x86 = {p.name: p for p in plan(lower(network, 44100, "executorch"), "executorch", 44100, "x86")}
    assert x86["decoder.0.rewrite.value"].precision == "int8-static"
    small = x86["encoder.0.dconv.0.narrow"]
    assert small.precision == "fp32" and small.reason  # ExecuTorch has no weights alone in int8


def test_an_unknown_target_is_refused():
    with pytest.raises(InputError, match="arm64, x86"):
        check_options(ExportOptions(cpu="riscv"))


def test_weights_stored_as_int8_are_fp32_again_when_loaded(tmp_path):
    """Their rounding is all that they lose: half a step of each output channel's scale."""
    model = enhancer()
    x86 = ExportOptions(precision="int8", cpu="x86", formats=("onnx",))
    export_network(model, x86, tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    assert {p.precision for p in bundle.manifest.graphs["onnx"].layers} <= {"int8-weights", "fp32"}
    assert bundle.manifest.parity["onnx"] > 35
    stored = onnx.load(bundle.graph_path("onnx"))
    assert not {"MatMulInteger", "QLinearConv", "DequantizeLinear"} & {n.op_type for n in stored.graph.node}


def test_a_graph_that_does_not_match_leaves_no_bundle(tmp_path, monkeypatch):
    real = pipeline.build_graph

    def damaged(model, *args):
        broken = Enhancer().eval()  # other random weights: a graph of another network
        return real(broken, *args)

    monkeypatch.setattr(pipeline, "build_graph", damaged)
    with pytest.raises(EdgeError, match="does not reproduce"):
        export_network(enhancer(), ExportOptions(precision="fp32", formats=("onnx",)), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(prune=0.95),
        ExportOptions(prune=-1),
        ExportOptions(precision="int4"),
        ExportOptions(formats=()),
        ExportOptions(formats=("tflite",)),
    ],
)
def test_bad_options(options):
    with pytest.raises(InputError):
        check_options(options)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "unknown model"),
        (["enhancer", "--prune", "2"], "prune ratio"),
        (["--checkpoint", "x.th"], "no such checkpoint file"),
        (["htdemucs", "--checkpoint", "missing.th"], "no such checkpoint"),
        (["enhancer", "--checkpoint", "{other}"], "another model"),
        (["htdemucs", "--checkpoint", "{other}"], "6 sources"),
        (["enhancer", "--format", "tflite"], "unknown format"),
        (["enhancer", "--recover", "1"], "--recover needs training data"),
    ],
)
def test_cli_errors(arguments, word, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, HTDemucs(TINY), {})
    if arguments[0] == "htdemucs" and "{other}" in arguments:  # six sources where four are wanted
        save_checkpoint(other, HTDemucs(HTDemucsConfig(**{**TINY.__dict__, "sources": tuple("abcdef")})), {})
    arguments = [a.replace("{other}", str(other)) for a in arguments]
    command = [sys.executable, "-m", "edge.cli.export", *arguments, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_cli_json(tmp_path, capsys):
    from edge.cli.export import main

    checkpoint = tmp_path / "e.safetensors"
    save_checkpoint(checkpoint, enhancer().network, {"training_data": "nothing"})
    arguments = ["enhancer", "--checkpoint", str(checkpoint), "--format", "onnx", "--json", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    manifest = json.loads(capsys.readouterr().out)[0]
    assert manifest["precision"] == "int8" and manifest["training_data"] == "nothing"
    assert open_bundle(tmp_path / "out" / "enhancer").manifest.name == "enhancer"


@pytest.mark.parametrize(("backend", "precision"), [("onnx", "int8-weights"), ("executorch", "fp32")])
def test_a_layer_whose_input_no_scale_holds_keeps_its_precision(backend, precision):
    net = torch.nn.Sequential(torch.nn.Conv2d(16, 64, 3), torch.nn.Conv2d(64, 64, 3)).eval()
    even = torch.rand(1, 16, 64, 64, generator=torch.Generator().manual_seed(0))
    spike = even.clone()
    spike[0, 0, 5, 5] = 1000.0

    def planned(*calibration: torch.Tensor) -> list[PlannedLayer]:
        return plan_precision(net, "int8", backend, "arm64", (even,), [(x,) for x in calibration])

    assert planned()[1].precision == planned(even)[1].precision == "int8-static"
    assert planned()[1].ranges is None and planned(even)[1].ranges is not None
    first = planned(even, spike)[0]
    assert first.precision == precision and first.reason == WIDE_RANGE and first.ranges is None
    step, power = float(even.max()) / 255, float(even.square().mean())
    into, _ = calibrated_ranges(net, ["0"], [(even,)])["0"]
    assert into.snr_db == pytest.approx(10 * np.log10(12 * power / step**2), rel=1e-4)


def test_a_layer_whose_output_alone_no_scale_holds_keeps_its_precision():
    net = torch.nn.Conv2d(16, 64, 3, bias=False).eval()
    with torch.no_grad():
        net.weight[:, 1:] = 0  # reads nothing but the channel of one spike
    x = torch.rand(1, 16, 256, 256, generator=torch.Generator().manual_seed(0))
    x[0, 0] = 5e-3 * x[0, 1]
    x[0, 0, 9, 9] = 1.0
    holder = torch.nn.Sequential(net)
    (layer,) = plan_precision(holder, "int8", "onnx", "arm64", (x,), [(x,)])
    into, out = calibrated_ranges(holder, ["0"], [(x,)])["0"]
    assert (layer.precision, layer.reason) == ("int8-weights", WIDE_RANGE) and into.snr_db > 40 > 15 > out.snr_db


@pytest.mark.parametrize(("values", "operators"), [(8001, ["Mul", "Sigmoid", "Mul", "Neg"]), (2001, ["Gelu", "Neg"])])
def test_a_large_gelu_is_approximated_and_near(values, operators):
    nodes = [onnx.helper.make_node("Gelu", ["x"], ["middle"]), onnx.helper.make_node("Neg", ["middle"], ["y"])]
    shapes = [[onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [values])] for n in "xy"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", *shapes), opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9
    )
    x = np.linspace(-10, 10, values, dtype=np.float32)
    approximate_gelu(model)
    onnx.checker.check_model(model)
    assert [n.op_type for n in model.graph.node] == operators
    found = -onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    exact = torch.nn.functional.gelu(torch.from_numpy(x)).numpy()
    error = np.abs(found - exact).max()
    assert 0.015 < error < 0.021 if "Sigmoid" in operators else error < 1e-6


@pytest.mark.parametrize(("backend", "precision"), [("onnx", "int8-weights"), ("executorch", "int8-dynamic")])
def test_a_layer_may_ask_for_fp32_arithmetic(backend, precision):
    net = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512)).eval()
    net[1].compute_float = "heard"
    first, second = plan_precision(net, "int8", backend, "arm64", (torch.zeros(1, 512),))
    assert first.precision == "int8-dynamic"
    assert (second.precision, second.reason) == (precision, "heard" if backend == "onnx" else "")


STEPS = """
import time
from edge.cli.export import _Steps
with _Steps() as steps:
    steps("load")
    time.sleep(2.2)
    steps("check")
"""


def test_the_clock_goes_on_within_a_step():
    """On a terminal; elsewhere nothing is printed."""
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    subprocess.run([sys.executable, "-c", STEPS], stderr=terminal, check=True)
    os.close(terminal)
    shown = os.read(main, 10_000).decode()
    os.close(main)
    assert shown.index("load ... 00:00") < shown.index("load ... 00:01") < shown.index("check ... 00:00")
    told = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert told.stderr == told.stdout == ""
