"""checkpoint -> model -> pruned -> quantized -> exported -> bundle, each step a function of its own."""

import dataclasses
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge import samples
from edge.bundle import (
    BeforeAfter,
    Bundle,
    Compression,
    Golden,
    GoldenInput,
    GoldenOutput,
    Manifest,
    Quality,
    snr_db,
    write_bundle,
)
from edge.checkpoints import checkpoint_metadata, load_checkpoint
from edge.compression.cost import macs_per_second, parameters
from edge.compression.int8 import CPUS
from edge.compression.prune import check_ratio, prune
from edge.errors import EdgeError, InputError
from edge.export.card import model_card
from edge.export.graph import BuiltGraph, build_graph, check_formats, signature
from edge.export.quality import measure_quality, song_statistics
from edge.models.enhancer import Enhancer
from edge.runtime.golden import golden_output
from edge.runtime.graphs import Graph, load_graph
from edge.zoo import Model, load_model, recovered_weights

MIN_PARITY_DB = {"fp32": 60.0, "int8": 8.0}  # int8 is lossy by nature: below this a graph is broken, not rounded
GOLDEN_MIN_DB = {"fp32": 60.0, "int8": 25.0}  # other processors round otherwise, more so in int8
_CALIBRATION_SEGMENTS = 8
_GOLDEN_SECONDS = 0.35
_GOLDEN_STRIDE = 61
_TOOLS = ("torch", "executorch", "torchao", "onnx", "onnxruntime", "torch-pruning", "stem-edge")

Progress = Callable[[str], None]
# (pruned, unpruned, ratio, seed) -> record of the training, which changes `pruned` in place
Recover = Callable[[torch.nn.Module, torch.nn.Module, float, int], dict[str, Any]]


@dataclass(frozen=True)
class ExportOptions:
    """What `edge-export` is asked for.

    segment: seconds (separators; None: the checkpoint's own). cpu: "arm64" or "x86", what int8 is chosen for.
    recover: training after pruning, see edge.training.recover.
    """

    prune: float = 0.0
    precision: str = "int8"
    cpu: str = "arm64"
    formats: tuple[str, ...] = ("onnx", "executorch")
    segment: float | None = None
    recover: Recover | None = None
    seed: int = 0


def export_model(
    name: str, checkpoints: Sequence[Path], options: ExportOptions, output: Path, progress: Progress = lambda _: None
) -> Manifest:
    """Compress and export one model by name to the bundle `output`; returns its manifest as written."""
    check_options(options)
    torch.manual_seed(options.seed)
    progress(f"{name}: load")
    return export_network(load_model(name, checkpoints), options, output, progress)


def check_options(options: ExportOptions) -> None:
    """Raises InputError for options that contradict each other or lie outside their ranges."""
    check_formats(options.formats)
    if options.precision not in MIN_PARITY_DB:
        raise InputError(f"unknown precision {options.precision!r}; known: fp32, int8")
    if options.cpu not in CPUS:
        raise InputError(f"unknown target {options.cpu!r}; known: {', '.join(CPUS)}")
    check_ratio(options.prune)


def export_network(model: Model, options: ExportOptions, output: Path, progress: Progress = lambda _: None) -> Manifest:
    """Compress and export a loaded model; every graph is checked against the torch network before writing.

    Raises EdgeError where a graph does not reproduce the network, leaving no bundle behind.
    """
    name, network = model.name, model.network
    segment = segment_samples(model, options.segment)
    small, recovery = compress(model, options, progress)
    calibration = calibration_audio(model, segment, options.seed)
    graphs: dict[str, BuiltGraph] = {}
    for target in options.formats:
        progress(f"{name}: export {target} {options.precision}")
        graphs[target] = build_graph(
            small,
            segment,
            target,  # type: ignore[arg-type]
            options.precision,
            calibration,
            options.cpu,
        )

    manifest = _draft(model, small, segment, options, graphs)
    with tempfile.TemporaryDirectory() as folder:
        for graph in graphs.values():
            (Path(folder) / graph.record.file).write_bytes(graph.data)
        draft = Bundle(output, Path(folder), manifest)
        threads = torch.get_num_threads()
        runs = {target: load_graph(draft, target, threads) for target in graphs}
        progress(f"{name}: check against torch")
        parity = {target: _parity(small, segment, run, calibration) for target, run in runs.items()}
        for target, snr in parity.items():
            if not snr >= MIN_PARITY_DB[options.precision]:
                raise EdgeError(f"{name}: the {target} graph does not reproduce the network ({snr:.1f} dB SNR)")
        progress(f"{name}: measure quality")
        quality = measure_quality(model, manifest, runs)
        golden, files = _golden(manifest, runs, calibration)
    full, left = macs_per_second(network, segment), macs_per_second(small, segment)
    manifest = dataclasses.replace(
        manifest,
        parity=parity,
        quality=quality,
        golden=golden,
        compression=Compression(
            options.prune,
            BeforeAfter(parameters(network), parameters(small)),
            BeforeAfter(full.layers, left.layers),
            BeforeAfter(full.attention, left.attention),
            recovery,
            options.cpu if options.precision == "int8" else None,
            _calibration_record(manifest, options.seed),
        ),
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


def segment_samples(model: Model, seconds: float | None) -> int | None:
    """Samples in one run of a separator: `seconds`, or the segment that the network was trained at."""
    if model.task == "enhance":
        return None
    config = model.network.config
    if seconds is None:
        return config.segment_samples
    samples_ = int(Fraction(str(seconds)) * config.samplerate)
    if not config.nfft <= samples_ <= 60 * config.samplerate:
        raise InputError(f"--segment must lie between {config.nfft / config.samplerate:.2f} and 60 seconds")
    return samples_


def calibration_audio(model: Model, segment: int | None, seed: int) -> list[np.ndarray]:
    """Real audio as the graph's first input; never the song that the quality is measured on."""
    if segment is None:
        return []  # the enhancer's layers quantize dynamically
    audio = samples.music()
    mean, std = song_statistics(audio)
    audio = (audio - mean) / std
    if audio.shape[1] < segment:
        audio = np.tile(audio, -(-segment // audio.shape[1]))
    starts = np.linspace(0, audio.shape[1] - segment, _CALIBRATION_SEGMENTS).astype(int)
    gains = np.random.default_rng(seed).uniform(0.5, 1.5, len(starts))
    clips = [audio[None, :, s : s + segment] * g for s, g in zip(starts, gains, strict=True)]
    return [np.ascontiguousarray(clip, np.float32) for clip in clips]


def _calibration_record(manifest: Manifest, seed: int) -> dict[str, Any] | None:
    precisions = {layer.precision for graph in manifest.graphs.values() for layer in graph.layers}
    if "int8-static" not in precisions or manifest.segment is None:
        return None
    seconds = manifest.segment / manifest.sample_rate
    return dict(recordings=[*samples.MUSIC], segments=_CALIBRATION_SEGMENTS, segment_seconds=seconds, seed=seed)


def _parity(network: torch.nn.Module, segment: int | None, run: Graph, calibration: list[np.ndarray]) -> float:
    """SNR in dB of the graph against the torch network that it came from, on real audio."""
    with torch.inference_mode():
        if segment is not None:
            return snr_db(network(torch.from_numpy(calibration[0])).numpy(), run([calibration[0]])[0])
        assert isinstance(network, Enhancer)
        hop = network.config.hop
        noisy = samples.speech()[0][: 100 * hop]
        expected, _ = network(torch.from_numpy(noisy[None]), network.init_state())
        states = [np.zeros(s.shape, np.float32) for s in signature(network, None).states]
        pieces = []
        for start in range(0, len(noisy), hop):
            enhanced, *states = run([noisy[None, start : start + hop], *states])
            pieces.append(enhanced[0])
        return snr_db(expected[0].numpy(), np.concatenate(pieces))


def _golden(
    manifest: Manifest, runs: Mapping[str, Graph], calibration: list[np.ndarray]
) -> tuple[Golden, dict[str, bytes | Path]]:
    """The self-check every device makes: a short real input, and what each graph made of it here."""
    if manifest.task == "separate":
        audio = calibration[0][0][:, : int(_GOLDEN_SECONDS * manifest.sample_rate)]
    else:
        hops = int(2 * _GOLDEN_SECONDS * manifest.sample_rate) // manifest.hop
        audio = samples.speech()[0][: hops * manifest.hop]
    stride = _GOLDEN_STRIDE if manifest.task == "separate" else 1
    golden = Golden(GoldenInput("golden/input.f32", audio.shape), {}, stride)
    draft = dataclasses.replace(manifest, golden=dataclasses.replace(manifest.golden, stride=stride))
    files: dict[str, bytes | Path] = {golden.input.file: audio.astype("<f4").tobytes()}
    for target, run in runs.items():
        output = golden_output(draft, audio, run)
        file = f"golden/{target}.f32"
        files[file] = output.astype("<f4").tobytes()
        golden.outputs[target] = GoldenOutput(file, output.shape, GOLDEN_MIN_DB[manifest.precision])
    return golden, files


def _draft(
    model: Model, small: torch.nn.Module, segment: int | None, options: ExportOptions, graphs: dict[str, BuiltGraph]
) -> Manifest:
    """The manifest as far as it is known before any graph has run; `small` is the pruned network."""
    names = signature(small, segment)
    config = model.network.config
    if segment is None:
        hop, delay, rate, channels, sources = config.hop, config.delay, 16000, 1, ["speech"]
        golden_shape: tuple[int, ...] = (hop,)
    else:
        hop, delay, rate = int(0.75 * segment), 0, config.samplerate
        channels, sources = config.audio_channels, list(config.sources)
        golden_shape = (channels, 1)
    pending = {target: GoldenOutput(f"golden/{target}.f32", (1,), 0.0) for target in graphs}
    return Manifest(
        name=model.name,
        task=model.task,
        sources=sources,
        sample_rate=rate,
        channels=channels,
        hop=hop,
        latency_samples=hop + delay if segment is None else segment,
        inputs=names.inputs,
        outputs=names.outputs,
        states=names.states,
        precision=options.precision,
        graphs={target: graph.record for target, graph in graphs.items()},
        compression=Compression(options.prune, BeforeAfter(0, 0), BeforeAfter(0, 0)),
        quality=Quality("none", "none", "dB"),
        golden=Golden(GoldenInput("golden/input.f32", golden_shape), pending),
        weights_license=model.weights_license,
        training_data=model.training_data,
        segment=segment,
        delay=delay,
        tools=tool_versions(),
    )


def tool_versions() -> dict[str, str]:
    """Versions of the packages that shape a bundle, where installed."""
    versions = {}
    for package in _TOOLS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
