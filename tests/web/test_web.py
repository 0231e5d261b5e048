"""The browser's modules in Node: what they give is what edge-run gives, whatever the rate and the blocks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import GAINS, SOURCES
from webjobs import Jobs, runtime_folder

from edge import samples
from edge.bundle import Bundle, open_bundle, snr_db
from edge.manifest import FORMAT_VERSION
from edge.runtime.chain import ChainOptions, new_chain
from edge.runtime.graphs import load_graph
from edge.runtime.shaping import Shaping
from edge.runtime.streams import Statistics
from edge.serve.site import write_site
from edge.web.runtime import MODULE, find_runtime

ROOT = Path(__file__).parents[2]
WEB = ROOT / "edge" / "web"
BUNDLES = ROOT / "edge" / "bundles"
FULL = Shaping(full_band=True)  # edge-run's default


def as_edge_run(bundle: Bundle, audio: np.ndarray, rate: int, shaping: Shaping = FULL) -> np.ndarray:
    """What edge-run makes of float32 (n, channels): (outputs, n, channels)."""
    statistics = None
    if bundle.manifest.task == "separate":
        statistics = Statistics()
        statistics.update(soxr.resample(audio, rate, bundle.manifest.sample_rate))
    options = ChainOptions(shaping=shaping)
    chain = new_chain(bundle, load_graph(bundle, "onnx"), rate, audio.shape[1], options, statistics)
    return np.concatenate([chain.process(audio), chain.flush()], axis=1)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return samples.speech()[0][:64_000]


def test_streams_are_those_of_edge_run(enhancer_bundle, speech, tmp_path):
    jobs = Jobs(tmp_path)
    cases = []
    for rate, sizes in ((16_000, [1, 160, 7, 5000]), (48_000, [128]), (44_100, [4410, 1, 999]), (11_025, [64])):
        audio = soxr.resample(speech, 16_000, rate).astype(np.float32)
        if rate == 16_000:
            audio[20_000:30_000] = 0  # a pause, in which nothing is run
        cases.append((rate, audio, jobs.file()))
        jobs.add(
            "stream",
            bundle=str(enhancer_bundle.path),
            sampleRate=rate,
            sizes=sizes,
            input=jobs.put(audio),
            output=cases[-1][2],
        )
    for (rate, audio, file), result in zip(cases, jobs.run(), strict=True):
        assert "error" not in result, result
        found = np.fromfile(file, "<f4")
        expected = as_edge_run(enhancer_bundle, audio[:, None], rate)[0, :, 0]
        assert len(found) == len(audio)
        assert snr_db(expected, found) > (100 if rate == 16_000 else 60), rate
        assert result["late"] <= result["latencySamples"]


@pytest.mark.parametrize("name", ["tiny", "enhancer"])
def test_full_band_and_strength_are_those_of_edge_run(enhancer_bundle, name, tmp_path):
    """Of voices with noise up to the top; the shipped enhancer's int8 graph amplifies what its converters differ by."""
    bundle = enhancer_bundle if name == "tiny" else open_bundle(name)
    jobs, cases = Jobs(tmp_path), []
    for rate in (44_100, 48_000):
        audio = soxr.resample(samples.speech()[0][:40_000], 16_000, rate)
        audio = (audio + 0.02 * np.random.default_rng(0).standard_normal(len(audio))).astype(np.float32)
        for shaping in (Shaping(True), Shaping(False), Shaping(True, 12.0), Shaping(True, 0.0)):
            output = jobs.file()
            cases.append((rate, audio, shaping, output))
            jobs.add(
                "stream",
                bundle=str(bundle.path),
                sampleRate=rate,
                band="full" if shaping.full_band else "model",
                limit=shaping.atten_limit,
                sizes=[128, 5001, 1],
                input=jobs.put(audio),
                output=output,
            )
    for (rate, audio, shaping, file), result in zip(cases, jobs.run(), strict=True):
        assert "error" not in result, result
        found = np.fromfile(file, "<f4")
        assert result["late"] <= result["latencySamples"]
        if shaping.atten_limit == 0:
            np.testing.assert_array_equal(found, audio)
        snr = snr_db(as_edge_run(bundle, audio[:, None], rate, shaping)[0, :, 0], found)
        assert snr > (60 if rate == 48_000 else 40), (rate, shaping, snr)


def test_faults_limits_and_refusals(enhancer_bundle, separator_path, speech, tmp_path):
    jobs = Jobs(tmp_path)
    fault = speech[:8000].copy()
    fault[4000:4003] = np.nan, np.inf, 1e9
    repaired, limited = jobs.file(), jobs.file()
    path = str(enhancer_bundle.path)
    jobs.add("stream", bundle=path, sizes=[512], input=jobs.put(fault), output=repaired)
    jobs.add("stream", bundle=path, sizes=[512], input=jobs.put(speech[:8000]), output=limited, limit=6.0)
    jobs.add("load", bundle=path, task="separate")
    jobs.add("load", bundle=str(tmp_path / "nothing"), task="enhance")
    jobs.add("enhance", bundle=path, inputs=[jobs.put(fault)], outputs=[jobs.file()])
    jobs.add("enhance", bundle=path, inputs=[], outputs=[])
    jobs.add("stream", bundle=path, sizes=[512], input=jobs.put(speech[:800]), output=jobs.file(), band="half")
    jobs.add("cancel", bundle=str(separator_path), inputs=[jobs.put(np.ones(90_000))] * 2)
    results = jobs.run()
    fault[4000:4003] = 0
    assert snr_db(as_edge_run(enhancer_bundle, fault[:, None], 16_000)[0, :, 0], np.fromfile(repaired, "<f4")) > 100
    # half the gain from the model, and as much of the input as 6 dB says
    keep = 10 ** (-6 / 20)
    assert snr_db((keep + (1 - keep) / 2) * speech[:8000], np.fromfile(limited, "<f4")) > 60
    assert "is made to enhance, not to separate" in results[2]["error"]
    assert "cannot be read" in results[3]["error"]
    assert "no finite numbers" in results[4]["error"]
    assert "no samples" in results[5]["error"]
    assert "not known: full or model" in results[6]["error"]
    assert results[7]["error"] == "Error: enough"


def test_a_song_is_that_of_edge_run(separator_path, tmp_path):
    bundle = open_bundle(separator_path)
    jobs = Jobs(tmp_path)
    song = samples.song()[0][:, :90_000]
    cases = []
    for rate, audio in ((44_100, song), (48_000, soxr.resample(song.T, 44_100, 48_000).T), (22_050, song[:1, ::2])):
        cases.append((rate, audio, tmp_path / f"stems{rate}"))
        inputs = [jobs.put(channel) for channel in audio]
        jobs.add("separate", bundle=str(separator_path), sampleRate=rate, inputs=inputs, output=str(cases[-1][2]))
    for (rate, audio, prefix), result in zip(cases, jobs.run(), strict=True):
        assert "error" not in result, result
        assert result["sources"] == SOURCES
        assert result["done"] == sorted(result["done"]) and result["done"][-1] == 1
        expected = as_edge_run(bundle, audio.T.astype(np.float32), rate)
        for index, source in enumerate(SOURCES):
            found = [np.fromfile(f"{prefix}-{source}-{c}.f32", "<f4") for c in range(2)]
            assert snr_db(expected[index].T, np.stack(found)) > (
                60 if rate == 48_000 else 50 if rate == 22_050 else 100
            )
    assert GAINS[0] != GAINS[1]  # else the sources could be confused unseen


def test_a_song_is_normalised_as_in_python(tmp_path):
    left, right = samples.song()[0][:, :30_000]
    mixes = [[left, right], [left], [left, -left], [left, 1e-3 * right - left], [left, 0 * left], [left, left]]
    jobs = Jobs(tmp_path)
    for mix in mixes:
        jobs.add("statistics", inputs=[jobs.put(channel) for channel in mix])
    for mix, result in zip(mixes, jobs.run(), strict=True):
        expected = Statistics()
        expected.update(np.float32(mix).T)
        assert result == pytest.approx({"mean": expected.mean, "std": expected.std}, rel=1e-9, abs=1e-12)


def test_bundles_are_checked(enhancer_path, tmp_path):
    """Zipped ones are read, stored or deflated; damaged, incomplete and future ones are refused in one line."""
    jobs = Jobs(tmp_path)

    def copy(name: str) -> Path:
        return shutil.copytree(enhancer_path, tmp_path / name)

    def zipped(name: str, method: int) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for file in sorted(enhancer_path.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(enhancer_path))
        return tmp_path / name

    damaged, future, golden = copy("damaged"), copy("future"), copy("golden")
    content = bytearray((damaged / "model.onnx").read_bytes())
    content[-1] ^= 1
    (damaged / "model.onnx").write_bytes(content)
    manifest = (future / "manifest.json").read_text()
    (future / "manifest.json").write_text(manifest.replace(f'"{FORMAT_VERSION}"', '"99.0"', 1))
    data = json.loads(manifest)
    data["golden"]["outputs"]["onnx"]["min_snr_db"] = 300.0
    (golden / "manifest.json").write_text(json.dumps(data))
    cut = tmp_path / "cut.edge"
    cut.write_bytes(zipped("stored.edge", zipfile.ZIP_STORED).read_bytes()[:-400])
    places = [zipped("stored.edge", zipfile.ZIP_STORED), zipped("deflated.edge", zipfile.ZIP_DEFLATED)]
    for place in [*places, damaged, future, golden, cut]:
        jobs.add("load", bundle=str(place), task="enhance")
    results = jobs.run()
    assert results[:2] == [{}, {}]
    for result, text in zip(
        results[2:], ["SHA-256 differs", "99.0 is not supported", "golden check fails", "zip"], strict=True
    ):
        assert result["error"].startswith("EdgeError") and text in result["error"], result


def test_the_package_is_that_of_the_wheel():
    package = json.loads((WEB / "package.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert package["version"] == project["version"] and package["license"] == project["license"]
    assert re.search(r'FORMAT_MAJOR = "(\d+)"', (WEB / "bundle.js").read_text())[1] == FORMAT_VERSION.split(".")[0]
    for module in WEB.glob("*.js"):
        for imported in re.findall(r'from "\./([^"]+)"', module.read_text()):
            assert (WEB / imported).is_file(), (module, imported)


def test_a_runtime_of_another_version_is_refused(tmp_path):
    from edge.errors import InputError

    with pytest.raises(InputError, match="npm install onnxruntime-web"):
        find_runtime(tmp_path)
    (tmp_path / MODULE).write_text("// another version")
    with pytest.raises(InputError, match="which is needed"):
        find_runtime(tmp_path)


def test_a_site_is_whole_and_replaces_only_its_own(enhancer_bundle, separator_bundle, tmp_path):
    from edge.errors import InputError

    runtime = runtime_folder()
    place = tmp_path / "site"
    for _ in range(2):  # the second replaces the first
        write_site(place, [enhancer_bundle, separator_bundle], runtime)
    site = json.loads((place / "models.json").read_text())
    assert not site["server"] and [model["task"] for model in site["models"]] == ["enhance", "separate"]
    assert (place / site["runtime"]).is_file()
    for model in site["models"]:
        open_bundle(place / model["url"])
    assert "Content-Security-Policy" in (place / "index.html").read_text()
    with pytest.raises(InputError, match="has one already"):
        write_site(tmp_path / "two", [enhancer_bundle, enhancer_bundle], runtime)
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="no page of edge-serve"):
        write_site(other, [enhancer_bundle], runtime)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    assert (other / "letter.txt").read_text() == "mine"


@pytest.mark.slow
def test_the_npm_package_runs_in_node(enhancer_bundle, speech, tmp_path):
    """Packed, installed beside the real runtime, its example run."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    subprocess.run(["make", "npm", f"NPM={tmp_path / 'pack'}"], cwd=ROOT, check=True, capture_output=True)
    (packed,) = (tmp_path / "pack").glob("*.tgz")
    assert packed.stat().st_size < 400_000
    (tmp_path / "package.json").write_text("{}")
    result = subprocess.run(
        ["npm", "install", packed, "onnxruntime-web@1.30.0", "--ignore-scripts"], cwd=tmp_path, capture_output=True
    )
    if result.returncode:
        pytest.skip(f"npm does not reach its registry: {result.stderr.decode()[-200:]}")
    stereo = np.stack([speech, speech[::-1]], axis=1)
    soundfile.write(tmp_path / "in.wav", stereo, 16_000, "PCM_16")
    example = tmp_path / "node_modules" / "stem-edge" / "example" / "enhance.mjs"
    command = ["node", example, enhancer_bundle.path, tmp_path / "in.wav", tmp_path / "out.wav"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    audio, _ = soundfile.read(tmp_path / "in.wav", dtype="float32")
    found, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert rate == 16_000 and snr_db(as_edge_run(enhancer_bundle, audio, rate)[0], found) > 100


@pytest.mark.slow
@pytest.mark.parametrize("form", ["shipped", "fp32"])
def test_the_shipped_models_give_what_edge_run_gives(form, tmp_path):
    """The bundles of the wheel, in int8 (on a processor without VNNI too), and both networks unpruned in fp32."""
    folder = BUNDLES
    if form == "fp32":
        folder = tmp_path
        command = [sys.executable, "-m", "edge.cli.export", "--precision", form, "--format", "onnx", "-o", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    enhancer, separator = open_bundle(folder / "enhancer"), open_bundle(folder / "htdemucs-mini")
    jobs = Jobs(tmp_path)
    rate = enhancer.manifest.sample_rate
    noisy = soxr.resample(samples.speech()[0], 16_000, rate).astype(np.float32)
    song = samples.song()[0][:, : 6 * 44_100]
    output = jobs.file()
    jobs.add("enhance", bundle=str(enhancer.path), sampleRate=rate, inputs=[jobs.put(noisy)], outputs=[output])
    inputs = [jobs.put(channel) for channel in song]
    jobs.add("separate", bundle=str(separator.path), sampleRate=44_100, inputs=inputs, output=str(tmp_path / "stems"))
    results = jobs.run()
    assert "error" not in results[0] and "error" not in results[1], results
    assert snr_db(as_edge_run(enhancer, noisy[:, None], rate)[0, :, 0], np.fromfile(output, "<f4")) > 60
    expected = as_edge_run(separator, song.T, 44_100)
    for index, source in enumerate(separator.manifest.sources):
        found = np.stack([np.fromfile(tmp_path / f"stems-{source}-{c}.f32", "<f4") for c in range(2)])
        # int8: a value that rounds to the other side of a step in the browser's runtime is as far off as a step
        assert snr_db(expected[index].T, found) > (60 if form == "fp32" else 40)
