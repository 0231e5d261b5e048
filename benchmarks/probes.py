"""Builds the probe graphs whose speed is this machine's peak: python -m edge.benchmarks.probes [-o FILE]

Each probe is a bundle of the smallest kind (an "enhancer" without state), made by the same exporters and quantizers as
real ones, so that it runs wherever they do. All go into one compressed file, which ships with the package: their
weights repeat a short pattern.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge.atomic import atomic_path
from edge.benchmarks.floor import PROBES
from edge.bundle import (
    BeforeAfter,
    Compression,
    Golden,
    GoldenInput,
    GoldenOutput,
    GraphRecord,
    Manifest,
    Quality,
    write_bundle,
)
from edge.compression.int8 import KINDS, PlannedLayer, require_all, weighted_layers
from edge.compression.precisions import layer_format, precision_named
from edge.compression.ranges import calibrated_ranges
from edge.console import enter_workbench, run_command
from edge.export.pipeline import tool_versions
from edge.export.to_executorch import to_executorch
from edge.export.to_onnx import to_onnx
from edge.interface import enhancement_interface
from edge.runtime.golden import golden_output
from edge.runtime.graphs import load_file

RATE = 16000
_FILES = {"onnx": "model.onnx", "executorch": "model.pte"}
_EPOCH = (2000, 1, 1, 0, 0, 0)  # of the packed files: the same graphs give the same bytes


class _Reshaped(nn.Module):
    """A layer between flat input and flat output of one length, (1, n)."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.layer, self.shape = layer, shape

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.layer(audio.reshape(self.shape)).reshape(1, -1)


@dataclass(frozen=True)
class Probe:
    """One layer of a known cost; `macs` and `weight_bytes` (fp32) are those of one run."""

    name: str
    precision: str
    layer: nn.Module
    shape: tuple[int, ...]
    macs: int


def probes() -> list[Probe]:
    """Arithmetic: a matrix product and a convolution, fp32 and int8. Memory: products of one row with 1 and 8 MB."""
    found = []
    for precision in ("fp32", "int8"):
        found.append(Probe("matmul", precision, nn.Linear(512, 512), (512, 512), 512**3))
        found.append(Probe("conv", precision, nn.Conv2d(64, 64, 3, padding=1), (1, 64, 64, 64), 9 * 64**4))
    for name, width in (("row-1MB", 512), ("row-8MB", 1448)):
        found.append(Probe(name, "fp32", nn.Linear(width, width), (1, width), width**2))
    assert sorted(f"{p.name}-{p.precision}" for p in found) == sorted(PROBES)
    return found


def write_probes(target: Path) -> None:
    """Export all probes in both formats into the zip `target`."""
    with tempfile.TemporaryDirectory() as scratch, atomic_path(target) as temporary:
        for probe in probes():
            _write_bundle(probe, Path(scratch) / f"{probe.name}-{probe.precision}")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
                info = zipfile.ZipInfo(file.relative_to(scratch).as_posix(), _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, file.read_bytes())


def _write_bundle(probe: Probe, folder: Path) -> None:
    pattern = torch.from_numpy(np.random.default_rng(0).standard_normal(512).astype(np.float32))
    with torch.no_grad():
        for weight in probe.layer.parameters():
            repeats = -(-weight.numel() // len(pattern))
            weight.copy_(0.05 * pattern.repeat(repeats)[: weight.numel()].reshape(weight.shape))
    module = _Reshaped(probe.layer, probe.shape).eval()
    hop = int(np.prod(probe.shape))
    audio = np.resize(2 * pattern.numpy(), hop).astype(np.float32)  # as compressible as the weights
    example = (torch.from_numpy(audio).reshape(1, -1),)
    # every layer in int8, whatever the policy: the probe measures what the policy weighs
    static = [name for name, layer in weighted_layers(module) if KINDS[type(layer)][1] == "int8-static"]
    ranges = calibrated_ranges(module, static, [example]) if probe.precision == "int8" else {}
    plan = [
        PlannedLayer(name, *KINDS[type(layer)], "", layer.weight.numel(), ranges.get(name))
        if probe.precision == "int8"
        else PlannedLayer(name, KINDS[type(layer)][0], "fp32", "", layer.weight.numel())
        for name, layer in weighted_layers(module)
    ]
    built = {
        "onnx": to_onnx(module, example, ["audio"], ["enhanced"], plan),
        "executorch": to_executorch(module, example, plan),
    }
    records, data = {}, {}
    for target, graph in built.items():
        layers = require_all(plan, graph.achieved, _FILES[target])
        size = round(sum(layer.weights * layer_format(layer.precision).bytes for layer in plan))
        records[target] = GraphRecord(_FILES[target], probe.precision, len(graph.data), size, graph.ops, layers)
        data[_FILES[target]] = graph.data
    stride, least = max(1, hop // 512), precision_named(probe.precision).golden_min_db
    outputs = {t: GoldenOutput(f"golden/{t}.f32", (len(audio[::stride]),), least) for t in built}
    rate = probe.macs * RATE / hop
    interface = enhancement_interface(RATE, hop, source="probe")
    manifest = Manifest(
        name=f"{probe.name}-{probe.precision}",
        **vars(interface),
        precision=probe.precision,
        graphs=records,
        compression=Compression(0.0, BeforeAfter(probe.macs, probe.macs), BeforeAfter(rate, rate), BeforeAfter(0, 0)),
        quality=Quality("none", "none", "dB"),
        golden=Golden(GoldenInput("golden/input.f32", (hop,)), outputs, stride),
        weights_license="MIT",
        training_data="none",
        tools=tool_versions(),
    )
    files: dict[str, bytes | Path] = dict(data)
    files["golden/input.f32"] = audio.astype("<f4").tobytes()
    folder.mkdir()
    for target in built:
        (folder / _FILES[target]).write_bytes(data[_FILES[target]])
        output = golden_output(interface, audio, load_file(folder / _FILES[target], target, interface), stride)
        (folder / _FILES[target]).unlink()
        files[f"golden/{target}.f32"] = output.astype("<f4").tobytes()
    write_bundle(folder, manifest, files)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser("python -m edge.benchmarks.probes", description=__doc__)
    default = Path(__file__).with_name("probes.zip")
    parser.add_argument("-o", "--output", type=Path, default=default, help="default: the file in the package")
    args = parser.parse_args(argv)
    enter_workbench("probes")
    return run_command("probes", lambda: write_probes(args.output))


if __name__ == "__main__":
    sys.exit(main())
