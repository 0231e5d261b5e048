"""Quality on files of the test split, which nothing was trained or calibrated on: each graph through the runtime,
beside the unpruned torch network and the unprocessed input."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.benchmarks.compression.sweep import weights_digest
from edge.benchmarks.peers.ours import through
from edge.benchmarks.quality.metrics import estoi, pesq_wb
from edge.benchmarks.quality.separator import SILENT, Song, held_out_songs
from edge.benchmarks.quality.sets import clips, held_out
from edge.benchmarks.quality.systems import Scores, System
from edge.bundle import Bundle
from edge.errors import InputError
from edge.interface import Interface
from edge.metrics import sdr, si_sdr
from edge.models.architectures import architecture_of
from edge.runtime.graphs import Graph, load_graph
from edge.samples import STEMS
from edge.zoo import Model

NETWORK, INPUT = "network", "input"

Values = dict[str, float | None]
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Example:
    """One file. `load` gives the input, (n,) or (2, n), and its reference, (n,) or (sources, 2, n), float32."""

    key: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TestSet:
    """Files with the names of their metrics, the one that decides first; `what` says what the files are."""

    __test__ = False  # pytest: not a test

    task: str
    metrics: tuple[str, ...]
    what: str
    examples: list[Example]


def open_test_set(model: Model, data: Path, count: int, seed: int = 7) -> TestSet:
    """The first `count` songs, or clips of held-out voices in held-out noise, of the data that `edge-train` made.

    PESQ and ESTOI are among the metrics where their packages are installed. Raises InputError where there is no such
    data, or for a separator of other sources than the songs'.
    """
    if model.task == "separate":
        if tuple(model.network.config.sources) != STEMS:
            raise InputError(f"{model.name} has other sources than the songs of {data} ({', '.join(STEMS)})")
        songs = held_out_songs(data / "music", count)
        examples = [Example(f"{song.name}-{song.stored.shape[-1]}", functools.partial(_song, song)) for song in songs]
        return TestSet("separate", ("sdr",), f"{len(songs)} songs of the test split", examples)
    made = list(clips(held_out(data / "speech"), ["noise"], count, seed, data))
    metrics = ["si_sdr"]
    metrics += [name for name, package in (("pesq", "pesq"), ("estoi", "pystoi")) if importlib.util.find_spec(package)]
    examples = [Example(clip.key, functools.partial(_pair, clip.noisy, clip.clean)) for clip in made]
    return TestSet("enhance", tuple(metrics), f"{len(made)} clips of the test split at -5 to 20 dB SNR", examples)


def _song(song: Song) -> tuple[np.ndarray, np.ndarray]:
    return song.mix, np.stack([song.source(name) for name in STEMS])


def _pair(noisy: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return noisy, clean


def score(metrics: Sequence[str], reference: np.ndarray, estimate: np.ndarray) -> Values:
    """Each metric of one file; a separator's is the mean over the sources that are not silent."""
    if reference.ndim == 3:
        pairs = [(s, e) for s, e in zip(reference, estimate, strict=True) if np.mean(s**2) > SILENT]
        return {"sdr": statistics.fmean(sdr(s, e) for s, e in pairs) if pairs else None}
    functions = {"si_sdr": si_sdr, "pesq": pesq_wb, "estoi": estoi}
    return {name: functions[name](reference, estimate) for name in metrics}


def score_all(
    test: TestSet,
    model: Model,
    bundles: Sequence[Bundle],
    backends: Sequence[str],
    threads: int,
    store: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Values]]:
    """Scores by "input", "network" and "BUNDLE BACKEND", one entry a file; kept in `store`, so that a stopped run
    goes on."""
    scores = Scores(store)
    systems: dict[System, Callable[[], Run]] = {
        System(INPUT, INPUT, "0"): lambda: functools.partial(_unprocessed, test.task),
        System(NETWORK, NETWORK, weights_digest(model)[:12]): lambda: network_run(model),
    }
    for bundle in bundles:
        for backend in backends:
            name = f"{bundle.path.name} {backend}"
            key = hashlib.sha256((json.dumps(asdict(bundle.manifest)["files"], sort_keys=True)).encode()).hexdigest()
            systems[System(name, name, key[:12])] = functools.partial(bundle_run, bundle, backend, threads)
    found: dict[str, list[Values]] = {}
    for system, prepare in systems.items():
        run: Run | None = None
        for number, example in enumerate(test.examples):
            known = scores.get(system, example.key)
            if known is None or any(name not in known for name in test.metrics):
                progress(f"{system.name}: held-out file {number + 1} of {len(test.examples)}")
                run = run or prepare()
                audio, reference = example.load()
                scores.add(system, example.key, score(test.metrics, reference, run(audio)))
        found[system.name] = [scores.get(system, example.key) or {} for example in test.examples]
    return found


def means(found: Sequence[Values]) -> dict[str, float | None]:
    """The mean of each metric over the files that have one."""
    names = dict.fromkeys(name for values in found for name in values)
    kept = {name: [v for values in found if (v := values.get(name)) is not None] for name in names}
    return {name: statistics.fmean(values) if values else None for name, values in kept.items()}


def losses(found: Sequence[Values], baseline: Sequence[Values]) -> dict[str, float | None]:
    """How much lower each metric is than `baseline`'s, mean over the files that have it in both."""
    pairs = [
        {name: b[name] - v[name] for name in v if v[name] is not None and b.get(name) is not None}  # type: ignore[operator]
        for v, b in zip(found, baseline, strict=True)
    ]
    return means(pairs)


def bundle_run(bundle: Bundle, backend: str, threads: int) -> Run:
    """A bundle's graph through the streaming runtime."""
    return stream_run(bundle.manifest, load_graph(bundle, backend, threads))


def stream_run(interface: Interface, graph: Graph) -> Run:
    """A graph through the streaming runtime: whole recordings in and out."""
    return functools.partial(through, interface, graph)


def network_run(model: Model) -> Run:
    """The unpruned torch network on whole recordings."""
    return functools.partial(architecture_of(model.network).process, model.network)


def _unprocessed(task: str, audio: np.ndarray) -> np.ndarray:
    return np.stack([audio] * len(STEMS)) if task == "separate" else audio


def summary(found: Mapping[str, list[Values]], name: str) -> dict[str, dict[str, float | None]]:
    """{"mean", "loss"} of one system, the loss against the unpruned network."""
    return {"mean": means(found[name]), "loss": losses(found[name], found[NETWORK])}
