"""The precision that pays, over a minute: damage that builds up, noise in silence and NaN show only after a while."""

import numpy as np
import pytest

from edge import samples
from edge.bundle import open_bundle, snr_db
from edge.export.pipeline import ExportOptions, export_network
from edge.runtime.graphs import load_graph
from edge.runtime.streams import EnhancerStream, Separator, Statistics
from edge.zoo import load_model

pytestmark = pytest.mark.slow
MINUTE = 60


def dbfs(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-20))


@pytest.fixture(scope="module", params=["onnx", "executorch"])
def backend(request):
    if request.param == "executorch":
        pytest.importorskip("executorch")
    return request.param


@pytest.fixture(scope="module", params=["enhancer", "htdemucs-mini"])
def bundles(request, backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    for precision in ("fp32", "auto"):
        options = ExportOptions(prune=0.5, precision=precision, formats=(backend,))
        export_network(load_model(request.param), options, folder / precision)
    return {precision: open_bundle(folder / precision) for precision in ("fp32", "auto")}


def run(bundle, audio: np.ndarray) -> np.ndarray:
    """The whole recording through the runtime; the last axis is time."""
    backend = next(iter(bundle.manifest.graphs))
    graph = load_graph(bundle, backend, 1)
    if bundle.manifest.task == "enhance":
        stream = EnhancerStream(bundle.manifest, graph)
    else:
        statistics = Statistics()
        statistics.update(audio.T)
        stream = Separator(bundle.manifest, graph, statistics.mean, statistics.std)
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)


def test_a_minute_of_sound_does_not_drift(bundles):
    """It is as near to fp32 in the last ten seconds as in the first."""
    if bundles["auto"].manifest.task == "enhance":
        audio = np.resize(samples.speech()[0], MINUTE * 16000)
    else:
        mix = samples.song()[0]
        audio = np.ascontiguousarray(np.tile(mix, (1, -(-MINUTE * 44100 // mix.shape[1])))[:, : MINUTE * 44100])
    outputs = {precision: run(bundle, audio) for precision, bundle in bundles.items()}
    assert all(np.isfinite(output).all() for output in outputs.values())
    tenth = audio.shape[-1] // 6
    first, last = (
        snr_db(outputs["fp32"][..., part], outputs["auto"][..., part])
        for part in (slice(tenth), slice(audio.shape[-1] - tenth, audio.shape[-1]))
    )
    assert first > 15 and last > first - 3


def test_silence_stays_silent(bundles):
    manifest = bundles["auto"].manifest
    shape = (10 * manifest.sample_rate,) if manifest.task == "enhance" else (2, 10 * manifest.sample_rate)
    output = run(bundles["auto"], np.zeros(shape, np.float32))
    assert np.isfinite(output).all()
    assert dbfs(output) < -70


def test_silence_after_sound_is_free_of_noise(bundles):
    """From one second after the sound has ended."""
    manifest = bundles["auto"].manifest
    rate = manifest.sample_rate
    sound = samples.speech()[0] if manifest.task == "enhance" else samples.song()[0]
    audio = np.concatenate([sound, np.zeros((*sound.shape[:-1], 10 * rate), np.float32)], axis=-1)
    output = run(bundles["auto"], audio)[..., sound.shape[-1] + rate :]
    assert np.isfinite(output).all()
    assert dbfs(output) < -70
