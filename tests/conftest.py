"""Tiny real bundles, so that everything of the runtime is tested without the large networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.bundle import (
    BeforeAfter,
    Bundle,
    Compression,
    Golden,
    GoldenInput,
    GoldenOutput,
    GraphRecord,
    Manifest,
    Quality,
    TensorSpec,
    open_bundle,
    write_bundle,
)
from edge.runtime.golden import golden_output

SOURCES = ["drums", "bass", "other", "vocals"]
GAINS = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
SEGMENT = 4410
HOP = 320


def gains_onnx(segment: int) -> bytes:
    """An ONNX graph that separates by fixed gains: stems[s] = GAINS[s] * mix."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["mix", "axis"], ["wide"]),
            helper.make_node("Mul", ["wide", "gains"], ["stems"]),
        ],
        "gains",
        [helper.make_tensor_value_info("mix", TensorProto.FLOAT, [1, 2, segment])],
        [helper.make_tensor_value_info("stems", TensorProto.FLOAT, [1, len(GAINS), 2, segment])],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(GAINS.reshape(1, -1, 1, 1), "gains"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def delay_onnx(hop: int) -> bytes:
    """An ONNX graph that "enhances" by half the gain and a delay of one hop, kept in a state."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def info(name: str):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, hop])

    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["last", "half"], ["enhanced"]),
            helper.make_node("Identity", ["audio"], ["next_last"]),
        ],
        "delay",
        [info("audio"), info("last")],
        [info("enhanced"), info("next_last")],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def onnx_run(content: bytes):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def manifest_for(task: str, graphs: dict[str, str], golden: Golden, segment: int = SEGMENT) -> Manifest:
    """The manifest of the tiny separator or enhancer; `graphs` maps formats to file names."""
    if task == "separate":
        shape = dict(sources=SOURCES, sample_rate=44100, channels=2, segment=segment, hop=int(0.75 * segment))
        tensors = dict(
            inputs=[TensorSpec("mix", (1, 2, segment))],
            outputs=[TensorSpec("stems", (1, len(SOURCES), 2, segment))],
            latency_samples=segment,
        )
    else:
        state = TensorSpec("last", (1, HOP))
        shape = dict(sources=["speech"], sample_rate=16000, channels=1, hop=HOP, delay=HOP, states=[state])
        tensors = dict(
            inputs=[TensorSpec("audio", (1, HOP)), state],
            outputs=[TensorSpec("enhanced", (1, HOP)), TensorSpec("next_last", (1, HOP))],
            latency_samples=2 * HOP,
        )
    return Manifest(
        name=f"tiny-{task}",
        task=task,
        precision="fp32",
        graphs={format: GraphRecord(file=file, weight_bytes=4) for format, file in graphs.items()},
        compression=Compression(0.0, BeforeAfter(1, 1), BeforeAfter(1, 1)),
        quality=Quality("SI-SDR", "none", "dB", {"input": None, "before": None, "after": None}),
        golden=golden,
        weights_license="MIT",
        training_data="none",
        **shape,
        **tensors,
    )


def make_bundle(place: Path, task: str, graphs: dict[str, bytes] | None = None, segment: int = SEGMENT) -> Path:
    """Write a tiny bundle whose golden output is made by its ONNX graph."""
    onnx_content = gains_onnx(segment) if task == "separate" else delay_onnx(HOP)
    contents = {"onnx": onnx_content} | (graphs or {})
    names = {format: "model.onnx" if format == "onnx" else "model.pte" for format in contents}
    stride = 7
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 1000) if task == "separate" else 10 * HOP, dtype=np.float32)
    shape = (len(SOURCES), 2, -(-segment // stride)) if task == "separate" else (-(-10 * HOP // stride),)
    golden = Golden(
        GoldenInput("golden/input.f32", audio.shape),
        {format: GoldenOutput(f"golden/{format}.f32", shape, 60.0) for format in contents},
        stride,
    )
    manifest = manifest_for(task, names, golden, segment)
    expected = golden_output(manifest, audio, onnx_run(onnx_content), stride).astype("<f4").tobytes()
    files: dict[str, bytes | Path] = {names[format]: content for format, content in contents.items()}
    files |= {f"golden/{format}.f32": expected for format in contents}
    files |= {"golden/input.f32": audio.astype("<f4").tobytes(), "MODEL_CARD.md": b"# tiny\n"}
    return write_bundle(place, manifest, files)


def to_pte(module, example: tuple) -> bytes:
    """Lower a torch module to an XNNPACK program."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module.eval(), example)
    return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer


@pytest.fixture(scope="session")
def both_separator_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny separator with an ExecuTorch graph beside the ONNX one."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("executorch.exir")

    class Gains(torch.nn.Module):
        def forward(self, mix):
            return torch.stack([mix * float(gain) for gain in GAINS], dim=1)

    content = to_pte(Gains(), (torch.zeros(1, 2, SEGMENT),))
    return make_bundle(tmp_path_factory.mktemp("both") / "both-separate", "separate", {"executorch": content})


@pytest.fixture(scope="session")
def both_enhancer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny enhancer with an ExecuTorch graph beside the ONNX one."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("executorch.exir")

    class Delay(torch.nn.Module):
        def forward(self, audio, last):
            return last * 0.5, audio * 1.0

    content = to_pte(Delay(), (torch.zeros(1, HOP), torch.zeros(1, HOP)))
    return make_bundle(tmp_path_factory.mktemp("both") / "both-enhance", "enhance", {"executorch": content})


@pytest.fixture(scope="session")
def separator_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny-separate", "separate")


@pytest.fixture(scope="session")
def enhancer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny-enhance", "enhance")


@pytest.fixture(scope="session")
def separator_bundle(separator_path: Path) -> Bundle:
    return open_bundle(separator_path)


@pytest.fixture(scope="session")
def enhancer_bundle(enhancer_path: Path) -> Bundle:
    return open_bundle(enhancer_path)
