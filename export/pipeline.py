"""checkpoint -> model -> pruned -> quantized -> exported -> bundle, each step a function of its own."""

import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from edge.bundle import (
    BeforeAfter,
    Compression,
    Golden,
    GoldenInput,
    GoldenOutput,
    GraphRecord,
    Interface,
    Manifest,
    snr_db,
    write_bundle,
)
from edge.checkpoints import checkpoint_metadata, load_checkpoint
from edge.compression.cost import macs_per_second, parameters
from edge.compression.precisions import AUTO, layer_format, precision_named
from edge.compression.processors import processor_named
from edge.compression.prune import check_ratio, prune
from edge.errors import EdgeError
from edge.export.agreement import measure_agreement, read_recording
from edge.export.architectures import interface_of
from edge.export.backends import exporter_named
from edge.export.card import model_card
from edge.export.forms import choose
from edge.export.graph import BuiltGraph, build_graph, check_formats
from edge.export.onnx_versions import with_properties
from edge.export.quality import measure_quality, stream_recording
from edge.export.recordings import calibration_audio, calibration_record, golden_audio, parity_audio
from edge.manifest import MIXED
from edge.models.architectures import architecture_of
from edge.runtime.golden import golden_output
from edge.runtime.graphs import Graph, LoadedGraph, load_file
from edge.zoo import Model, load_model, recovered_weights

_GOLDEN_STRIDE = 61
_TOOLS = ("torch", "executorch", "torchao", "onnx", "onnxruntime", "torch-pruning", "stem-edge")

Progress = Callable[[str], None]
# (pruned, unpruned, ratio, seed) -> record of the training, which changes `pruned` in place
Recover = Callable[[torch.nn.Module, torch.nn.Module, float, int], dict[str, Any]]


@dataclass(frozen=True)
class ExportOptions:
    """What `edge-export` is asked for.

    precision: a registered one, or "auto": of each graph what pays on `cpu`, the processor that the bundle is for.
    segment: seconds (separators; None: the checkpoint's own).
    recover: training after pruning, see edge.training.recover. audio: a recording of the user's, on which the
    compressed network is compared with the unpruned one.
    """

    prune: float = 0.0
    precision: str = AUTO
    cpu: str = "arm64"
    formats: tuple[str, ...] = ("onnx", "executorch")
    segment: float | None = None
    recover: Recover | None = None
    audio: Path | None = None
    seed: int = 0


def export_model(
    name: str, checkpoints: Sequence[Path], options: ExportOptions, output: Path, progress: Progress = lambda _: None
) -> Manifest:
    """Compress and export one model by name to the bundle `output`; returns its manifest as written."""
    check_options(options)
    progress(f"{name}: load")
    return export_network(load_model(name, checkpoints), options, output, progress)


def check_options(options: ExportOptions) -> None:
    """Raises InputError for options that contradict each other or lie outside their ranges."""
    check_formats(options.formats)
    if options.precision != AUTO:
        precision_named(options.precision)
    processor_named(options.cpu)
    check_ratio(options.prune)


def export_network(model: Model, options: ExportOptions, output: Path, progress: Progress = lambda _: None) -> Manifest:
    """Compress and export a loaded model; every graph is checked against the torch network before writing.

    Raises EdgeError where a graph does not reproduce the network, leaving no bundle behind.
    """
    torch.manual_seed(options.seed)
    name, network = model.name, model.network
    interface = interface_of(network, options.segment)  # a bad segment shows before the work
    for backend in options.formats:  # and so does a precision that this network lacks there
        choose(network, options.precision, exporter_named(backend), processor_named(options.cpu))
    if options.audio is not None:
        read_recording(options.audio, interface)  # and a bad recording
    small, recovery = compress(model, options, progress)
    interface = interface_of(small, options.segment)
    calibration = calibration_audio(interface, options.seed)
    graphs: dict[str, BuiltGraph] = {}
    for target in options.formats:
        progress(f"{name}: export {target} {options.precision}")
        graphs[target] = build_graph(small, interface, target, options.precision, calibration, options.cpu)
    if "onnx" in graphs:
        about = _properties(name, interface, graphs["onnx"].record.precision)
        graphs["onnx"] = replace(graphs["onnx"], data=with_properties(graphs["onnx"].data, about))
    with tempfile.TemporaryDirectory() as folder:
        runs = _loaded(name, Path(folder), interface, graphs)
        progress(f"{name}: check against torch")
        parity = _parity(name, small, interface, graphs, runs)
        progress(f"{name}: measure quality")
        quality = measure_quality(model, interface, runs)
        agreement = None
        if options.audio is not None:
            progress(f"{name}: compare on {options.audio.name}")
            whole = {backend: partial(stream_recording, interface, run) for backend, run in runs.items()}
            agreement = measure_agreement(options.audio, network, interface, whole)
        records = {target: graph.record for target, graph in graphs.items()}
        golden, files = _golden(interface, records, runs, options.seed)
    made_in = {record.precision for record in records.values()}
    manifest = Manifest(
        **vars(interface),
        name=name,
        precision=made_in.pop() if len(made_in) == 1 else MIXED,
        graphs=records,
        compression=_compression(network, small, interface, options, recovery, records),
        quality=quality,
        golden=golden,
        weights_license=model.weights_license,
        training_data=model.training_data,
        parity=parity,
        tools=tool_versions(),
        checkpoints=list(model.origin),
        agreement=agreement,
    )
    progress(f"{name}: write {output}")
    files |= {graph.record.file: graph.data for graph in graphs.values()}
    files["MODEL_CARD.md"] = model_card(manifest).encode()
    write_bundle(output, manifest, files)
    return manifest


def compress(
    model: Model, options: ExportOptions, progress: Progress = lambda _: None
) -> tuple[torch.nn.Module, dict | None]:
    """The pruned network and the record of the training after it: shipped where it is, made here otherwise."""
    path = recovered_weights(model, options.prune)
    if path is not None and options.recover is None:
        return load_checkpoint(path), json.loads(checkpoint_metadata(path)["recovery"])
    progress(f"{model.name}: prune {options.prune:g}")
    small = prune(model.network, options.prune).model
    if options.recover is None:
        return small, None
    progress(f"{model.name}: recover")
    return small, options.recover(small, model.network, options.prune, options.seed)


def _loaded(name: str, folder: Path, interface: Interface, graphs: Mapping[str, BuiltGraph]) -> dict[str, LoadedGraph]:
    """The graphs in their runtimes, by way of files in `folder`."""
    runs = {}
    for backend, graph in graphs.items():
        file = folder / graph.record.file
        file.write_bytes(graph.data)
        runs[backend] = load_file(file, backend, interface, torch.get_num_threads(), name)
    return runs


def _parity(
    name: str,
    network: torch.nn.Module,
    interface: Interface,
    graphs: Mapping[str, BuiltGraph],
    runs: Mapping[str, Graph],
) -> dict[str, float]:
    """SNR in dB of each graph against the torch network that it came from, on real audio that no range was taken from.

    Raises EdgeError for less than the graph's precision must have.
    """
    audio = parity_audio(interface)
    expected = architecture_of(network).forward(network, audio)
    parity = {backend: snr_db(expected, golden_output(interface, audio, run)) for backend, run in runs.items()}
    for backend, snr in parity.items():
        if not snr >= precision_named(graphs[backend].record.precision).min_parity_db:
            raise EdgeError(f"{name}: the {backend} graph does not reproduce the network ({snr:.1f} dB SNR)")
    return parity


def _golden(
    interface: Interface, records: Mapping[str, GraphRecord], runs: Mapping[str, Graph], seed: int
) -> tuple[Golden, dict[str, bytes | Path]]:
    """The self-check every device makes: a short real input, and what each graph made of it here."""
    audio = golden_audio(interface, seed)
    stride = _GOLDEN_STRIDE if interface.segment is not None else 1
    golden = Golden(GoldenInput("golden/input.f32", audio.shape), {}, stride)
    files: dict[str, bytes | Path] = {golden.input.file: audio.astype("<f4").tobytes()}
    for backend, run in runs.items():
        output = golden_output(interface, audio, run, stride)
        file = f"golden/{backend}.f32"
        files[file] = output.astype("<f4").tobytes()
        least = precision_named(records[backend].precision).golden_min_db
        golden.outputs[backend] = GoldenOutput(file, output.shape, least)
    return golden, files


def _compression(
    network: torch.nn.Module,
    small: torch.nn.Module,
    interface: Interface,
    options: ExportOptions,
    recovery: dict[str, Any] | None,
    records: Mapping[str, GraphRecord],
) -> Compression:
    full, left = macs_per_second(network, interface.segment), macs_per_second(small, interface.segment)
    tuned = any(precision_named(record.precision).tuned for record in records.values())
    formats = {layer.precision for record in records.values() for layer in record.layers}
    calibrated = any(layer_format(name).calibrated for name in formats)
    return Compression(
        options.prune,
        BeforeAfter(parameters(network), parameters(small)),
        BeforeAfter(full.layers, left.layers),
        BeforeAfter(full.attention, left.attention),
        recovery,
        options.cpu if tuned else None,
        calibration_record(interface, options.seed) if calibrated else None,
    )


def _properties(name: str, interface: Interface, precision: str) -> dict[str, Any]:
    """What an ONNX file says of itself, for whoever has it alone."""
    values = {key: value for key, value in vars(interface).items() if key not in ("inputs", "outputs", "states")}
    states = [asdict(state) for state in interface.states]
    about = {"name": name, "precision": precision, **values, "states": states}
    return {key: value for key, value in about.items() if value is not None}


def tool_versions() -> dict[str, str]:
    """Versions of the packages that shape a bundle, where installed."""
    versions = {}
    for package in _TOOLS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
