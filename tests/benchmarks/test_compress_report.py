"""edge-compress report: it measures what it says, keeps what it made, and its picture joins what none beats."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

import edge.backends
import edge.compression.precisions
import edge.export.backends
import edge.models.architectures
import edge.runtime
from edge import samples
from edge.benchmarks.compression import docs, held_out, report, sweep, tables
from edge.benchmarks.compression.pareto import COSTS, draw, figure, front, quality_key
from edge.bundle import open_bundle
from edge.errors import EdgeError, InputError
from edge.export.pipeline import ExportOptions
from edge.metrics import sdr, si_sdr
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.training.recover import Recovery
from edge.training.shards import Item, write_manifest, write_shard
from edge.zoo import Model

ROOT = Path(__file__).parents[2]
TINY = HTDemucsConfig(segment=Fraction(1, 2), channels=8, depth=2, t_layers=0, bottom_channels=0, dconv_mode=0)


def separator(seed: int = 0, config: HTDemucsConfig = TINY) -> Model:
    torch.manual_seed(seed)
    return Model("tiny", HTDemucs(config).eval(), "MIT", "none")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two songs of a second; the first one's vocals are silent."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    items = []
    for k in range(2):
        stems = 0.1 * rng.standard_normal((4, 2, 44100)).astype(np.float32)
        stems[3] *= k
        file = write_shard(data / "music", f"song-{k}", stems)
        items.append(Item(file, "song", "test", f"song-{k}", "made", "1", "CC0", 1.0))
    write_manifest(data / "music", "music", 44100, items)
    return data


@pytest.fixture(scope="module")
def swept(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path, report.ReportOptions]:
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("report")
    audio = output / "mine.wav"  # its right channel and its start are silent
    song = samples.song()[0].T[: 2 * 44100] * [1, 0]
    soundfile.write(audio, np.concatenate([np.zeros((4410, 2)), song]), 44100, "FLOAT")
    options = report.ReportOptions(
        ExportOptions(formats=("onnx",)), (0.5, 0.0), ("fp32", "int8"), data=songs, files=2, audio=audio, seconds=0.3
    )
    return report.run([separator()], options, output), output, options


def test_the_figures_are_those_of_the_bundles(swept):
    content, output, _ = swept
    (model,) = content["models"]
    assert [(v["ratio"], v["precision"]) for v in model["variants"]] == [
        (0, "fp32"),
        (0, "int8"),
        (0.5, "fp32"),
        (0.5, "int8"),
    ]
    assert model["failures"] == []
    for variant in model["variants"]:
        bundle = open_bundle(output / "bundles" / variant["bundle"])
        assert variant["graph_bytes"] == bundle.graph_path("onnx").stat().st_size
        assert variant["parameters"] == bundle.manifest.compression.parameters.after
        loss = model["network"]["quality"] - variant["quality"]
        assert variant["quality_loss"] == pytest.approx(loss)
        time = variant["time"]
        assert time["run_seconds"] == pytest.approx(time["rtf"] * bundle.manifest.hop / 44100, rel=0.5)
        for key in ("speedup_pytorch", "speedup_fp32"):
            assert 0 < time[key]["low"] <= time[key]["value"] <= time[key]["high"]
    first, _, _, last = model["variants"]
    assert first["time"]["speedup_fp32"]["value"] == 1.0
    assert abs(first["quality_loss"]) < 0.01 and abs(first["held_out"]["loss"]["sdr"]) < 0.01
    assert last["graph_bytes"] < first["graph_bytes"] and last["int8_layers"] > 0 == first["int8_layers"]


def test_held_out_figures_are_the_mean_over_songs_of_the_sources_that_sound(swept, songs):
    content = swept[0]
    (model,) = content["models"]
    expected = []
    for song in held_out.held_out_songs(songs / "music", 2):
        stems = song.stored.astype(np.float32) / 32768
        mix = stems.sum(axis=0)
        estimate = held_out.network_run(separator())(mix)
        sounding = 3 if song.name == "song-0" else 4
        expected.append(np.mean([sdr(stems[k], estimate[k]) for k in range(sounding)]))
    assert model["network"]["held_out"]["sdr"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert model["test_set"]["files"] == 2 and model["test_set"]["metrics"] == ["sdr"]


def test_agreement_is_that_of_the_graphs_stems_with_the_networks(swept):
    content, output, options = swept
    (model,) = content["models"]
    audio = soundfile.read(options.audio, dtype="float32")[0].T
    expected = held_out.network_run(separator())(audio)
    for variant in model["variants"]:
        got = held_out.bundle_run(open_bundle(output / "bundles" / variant["bundle"]), "onnx", 1)(audio)
        values = {name: si_sdr(expected[k].ravel(), got[k].ravel()) for k, name in enumerate(TINY.sources)}
        assert variant["agreement"] == pytest.approx(values, abs=0.01)
    least = [min(variant["agreement"].values()) for variant in model["variants"]]
    assert least[0] > 70 > least[1] > least[2]  # fp32, int8, pruned and not trained
    for text in (tables.text(content), tables.markdown(content)):
        _, told = text.split("SI-SDR on mine.wav against what the unpruned network makes of it")
        assert all(f"{source} dB" in told for source in TINY.sources)
        assert f"{model['variants'][3]['agreement']['vocals']:.2f}" in told


def test_a_recording_that_cannot_be_read_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "export_network", lambda *_: pytest.fail("nothing is exported"))
    with pytest.raises(InputError, match="absent"):
        report.run([separator()], report.ReportOptions(ExportOptions(), audio=tmp_path / "absent.wav"), tmp_path)


def test_a_second_run_exports_and_scores_nothing_again(swept, monkeypatch):
    content, output, options = swept

    def refuse(*_args, **_options):
        raise AssertionError("done before")

    monkeypatch.setattr(sweep, "export_network", refuse)
    monkeypatch.setattr(held_out, "score", refuse)
    monkeypatch.setattr(report, "measure_agreement", refuse)
    again = report.run([separator()], report.dataclasses.replace(options, seconds=0.0), output)
    for before, after in zip(content["models"][0]["variants"], again["models"][0]["variants"], strict=True):
        assert {k: v for k, v in before.items() if k != "time"} == after
    report.write(content, output)  # for the tests that read it


def test_other_weights_other_options_and_damage_are_exported_again(swept, tmp_path, monkeypatch):
    exported = []

    def export(model, options, path, progress):
        exported.append(path.name)
        path.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(sweep, "export_network", export)
    monkeypatch.setattr(sweep, "open_bundle", lambda path: path)
    fp32 = ExportOptions(precision="fp32", formats=("onnx",))
    for model, options in (
        (separator(), fp32),
        (separator(), fp32),
        (separator(1), fp32),
        (separator(1), report.dataclasses.replace(fp32, seed=5)),
        (separator(), fp32),
    ):
        sweep.export_once(model, options, tmp_path)
    assert exported == ["tiny-p00-fp32"] * 4  # the second was there

    def damaged(path):
        if len(exported) == 4:
            raise InputError("damaged")
        return path

    monkeypatch.setattr(sweep, "open_bundle", damaged)
    sweep.export_once(separator(), fp32, tmp_path)
    assert len(exported) == 5


def test_code_of_any_depth_decides_whether_a_bundle_is_made_again():
    deep = (edge.compression.precisions, edge.export.backends, edge.models.architectures, edge.backends, edge.runtime)
    assert {Path(package.__file__) for package in deep} <= set(sweep.code_files())


def test_a_variant_that_fails_is_named_and_the_rest_goes_on(tmp_path, monkeypatch):
    def export(model, options, folder, progress):
        if options.prune == 0.9:
            raise EdgeError("does not reproduce the network")
        return folder / sweep.bundle_name(model.name, options)

    monkeypatch.setattr(sweep, "export_once", export)
    wanted = sweep.grid(ExportOptions(formats=("onnx",), recover=Recovery(1.0, tmp_path)), [0.9, 0.0], ["int8", "fp32"])
    assert [o.recover is not None for o in wanted] == [False, False, True, True]
    assert (wanted[0].prune, wanted[0].precision) == (0, "fp32")
    exported, failures = sweep.export_all(separator(), wanted, tmp_path)
    assert [e.bundle.name for e in exported] == ["tiny-p00-fp32", "tiny-p00-int8-arm64"]
    assert [f.what for f in failures] == ["tiny-p90-int8-arm64", "tiny-p90-fp32"]


def test_the_files_say_what_the_report_says(swept):
    content, output, _ = swept
    assert report.load(output / "report.json") == json.loads(json.dumps(content))
    text = (output / "report.md").read_text()
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| 0")]
    assert len(table) == 9  # PyTorch and four graphs, and the agreement of the four
    for cells, variant in zip(table[1:5], content["models"][0]["variants"], strict=True):
        assert f"{variant['graph_bytes'] / 1e6:.2f}" in cells and f"{variant['time']['rtf']:.4f}" in cells
    assert "Measured by `" in text and content["machine"]["processor"] in text
    assert tables.text(content).count("int8") >= 2
    with pytest.raises(InputError, match="was not written by edge-compress report"):
        report.load(_written(output / "x.json", "{}"))
    with pytest.raises(InputError, match="is no JSON"):
        report.load(_written(output / "x.json", "{"))


def test_the_picture_has_every_graph_once_a_panel(swept):
    content, output, _ = swept
    panels = figure(content).axes
    assert len(panels) == 2  # time and size; no instructions were counted
    for axes, cost in zip(panels, ("rtf", "megabytes"), strict=True):
        dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() in ("o", "D")]
        variants = content["models"][0]["variants"]
        assert [x for x, _ in dots] == [COSTS[cost](v) for v in variants] and len(dots) == 4
        for x, y in dots:
            assert axes.get_xlim()[0] < x < axes.get_xlim()[1] and axes.get_ylim()[0] < y < axes.get_ylim()[1]
    assert ElementTree.parse(output / "pareto.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert draw(content) == (output / "pareto.svg").read_text()


def test_int8_is_swept_for_each_processor_and_fp32_once():
    wanted = sweep.grid(ExportOptions(), [0.5], ["fp32", "int8"], ["x86", "arm64"])
    names = [sweep.bundle_name("m", options) for options in wanted]
    assert names == ["m-p50-fp32", "m-p50-int8-x86", "m-p50-int8-arm64"]
    assert sweep.bundle_name("m", ExportOptions(prune=0.325, precision="fp32")) == "m-p32.5-fp32"


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_the_front_is_what_nobody_beats(pairs):
    variants = [{"graph_bytes": 1e6 * c, "quality": q} for c, q in pairs]
    found = front(variants, COSTS["megabytes"], lambda v: v["quality"])
    for i, (c, q) in enumerate(pairs):
        beaten = any((oc <= c and oq >= q) and (oc, oq) != (c, q) for oc, oq in pairs)
        twin = any(pairs[j] == (c, q) for j in found if j != i)
        assert (i in found) == (not beaten and not (twin and i not in found))
    assert [pairs[i] for i in found] == sorted(pairs[i] for i in found)


def test_what_was_not_measured_is_on_no_front():
    variants = [{"graph_bytes": 1, "quality": None}, {"graph_bytes": 2, "quality": 1.0}]
    assert front(variants, COSTS["megabytes"], lambda v: v["quality"]) == [1]
    assert front(variants, COSTS["rtf"], lambda v: v["quality"]) == []
    assert quality_key({"name": "x"})({"quality": 3.0}) == 3.0


def test_the_document_holds_the_results_that_lie_beside_it():
    page = ROOT / "docs" / "compression.md"
    results = sorted((ROOT / "docs" / "results").glob("compression_*.json"))
    assert page.read_text() == docs.with_results(page.read_text(), results)


def test_the_document_is_made_from_reports(swept, tmp_path):
    output = swept[1]
    page = f"# Title\n\n{docs.MARKS.begin}\nold\n{docs.MARKS.end}\n\nrest\n"
    made = docs.with_results(page, [output / "report.json"])
    assert "old" not in made and made.startswith("# Title\n") and made.endswith("\n\nrest\n")
    assert "| PyTorch, eager |" in made and made == docs.with_results(made, [output / "report.json"])
    with pytest.raises(InputError, match="marks"):
        docs.with_results("# Title", [])
    with pytest.raises(InputError, match="not a result"):
        docs.with_results(page, [_written(tmp_path / "compression_x.json", '{"format": "?"}')])


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
