"""edge-eval: sets are what they say, systems meet the same files, reports and pages are whole, runs go on."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import GAINS
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelmax, lfilter, welch

from edge import samples
from edge.benchmarks.peers.client import Launch
from edge.benchmarks.quality import run, sets, systems
from edge.benchmarks.quality.judging import Part, rows, run_systems
from edge.benchmarks.quality.report import markdown, text
from edge.benchmarks.quality.systems import Scores, System
from edge.cli import eval as command
from edge.errors import InputError
from edge.metrics import sdr
from edge.training.shards import Item, write_manifest, write_shard

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean speech of odd rates, widths and lengths; a noise that is shorter than the speech; noisy pairs."""
    place = tmp_path_factory.mktemp("recordings")
    noisy, clean = samples.speech()
    for name in ("clean", "noise", "noisy"):
        (place / name).mkdir()
    stereo = np.repeat(clean[:32000].repeat(3)[:, None], 2, axis=1)  # 48 kHz
    soundfile.write(place / "clean" / "a_1.wav", stereo, 48000)
    soundfile.write(place / "clean" / "b_1.flac", clean[32000:64000], 16000)
    soundfile.write(place / "clean" / "short.wav", clean[:3000], 16000)
    soundfile.write(place / "noise" / "n.wav", 0.1 * np.random.default_rng(0).standard_normal(11025), 22050)
    soundfile.write(place / "noisy" / "b_1.wav", noisy[32000:64000], 16000)
    return place


def test_a_larger_set_begins_with_the_smaller_and_has_the_snr_it_says(folders, tmp_path):
    corpus = sets.from_folders([folders / "clean"], folders / "noise")
    assert len(corpus.voices) == 2  # the short one is left out
    few, many = (list(sets.clips(corpus, ["noise"], n, 3, tmp_path)) for n in (2, 6))
    assert [c.key for c in few] == [c.key for c in many[:2]]
    for clip in many:
        ratio = 10 * np.log10(np.mean(clip.clean**2) / np.mean((clip.noisy - clip.clean) ** 2))
        assert f"{round(ratio)} dB" == clip.group
        assert clip.noisy.dtype == np.float32 and np.abs(clip.noisy).max() <= 1
    assert {c.group for c in many} == {f"{snr} dB" for snr in sets.SNRS_DB}
    other = list(sets.clips(corpus, ["babble"], 4, 4, tmp_path))
    assert [c.key for c in other] != [c.key for c in sets.clips(corpus, ["babble"], 4, 3, tmp_path)]


def test_band_limited_clips_have_no_upper_band_and_silence_is_silent(folders, tmp_path):
    corpus = sets.from_folders([folders / "clean"], folders / "noise")
    band, silence, alone = sets.clips(corpus, ["band-limited", "silence", "noise alone"], 1, 3, tmp_path)
    power = np.abs(np.fft.rfft(band.noisy)) ** 2
    upper = np.fft.rfftfreq(len(band.noisy), 1 / 16000) > 4200
    assert power[upper].sum() < 1e-5 * power.sum() and np.array_equal(band.clean.shape, band.noisy.shape)
    assert not silence.noisy[silence.skip :].any() and silence.noisy[: 2 * 16000].any()
    level = 10 * np.log10(np.mean(alone.noisy**2))
    assert level == pytest.approx(-45, abs=0.1) and not alone.clean.any()


def test_levels_are_those_of_the_loudest_sample_and_clean_voices_have_no_noise(folders, tmp_path):
    corpus = sets.from_folders([folders / "clean"], folders / "noise")
    for number, clip in enumerate(sets.clips(corpus, ["levels"], 6, 3, tmp_path)):
        assert clip.group == f"{sets.LEVELS_DBFS[number]} dBFS"
        assert 20 * np.log10(max(np.abs(clip.noisy).max(), np.abs(clip.clean).max())) == pytest.approx(
            sets.LEVELS_DBFS[number], abs=0.01
        )
        noise = clip.noisy - clip.clean
        assert 10 * np.log10(np.mean(clip.clean**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)
    [clean] = sets.clips(corpus, ["clean"], 1, 3, tmp_path)
    assert np.array_equal(clean.noisy, clean.clean)


def test_a_whisper_keeps_the_formants_and_loses_the_pitch():
    pulses = np.zeros(32000)
    pulses[::160] = 1  # 100 Hz
    vowel = pulses
    for formant in (700, 1200, 2600):
        radius, angle = np.exp(-np.pi * 90 / 16000), 2 * np.pi * formant / 16000
        vowel = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], vowel)
    whisper = sets.whispered(vowel, np.random.default_rng(0))
    assert len(whisper) == len(vowel)
    assert 10 * np.log10(np.mean(whisper**2) / np.mean(vowel**2)) == pytest.approx(-20, abs=0.1)

    def at_pitch(sound):
        return np.sum(sound[160:] * sound[:-160]) / np.sum(sound**2)

    assert at_pitch(vowel) > 0.9 and abs(at_pitch(whisper)) < 0.1
    frequencies, power = welch(whisper, 16000, nperseg=512)
    peaks = frequencies[argrelmax(gaussian_filter1d(np.log(power), 1.5))[0]]
    for formant in (700, 1200, 2600):
        assert np.abs(peaks - formant).min() < 80
    assert not sets.whispered(np.zeros(8000), np.random.default_rng(0)).any()  # nor does silence become NaN


def test_long_streams_end_with_the_same_minute(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "HISTORY", (0, 1, 2))
    corpus = sets.from_folders([folders / "clean"], folders / "noise")
    made = list(sets.clips(corpus, ["long"], 4, 3, tmp_path))
    assert [c.group for c in made] == ["0 min before", "1 min before", "2 min before", "0 min before"]
    minute = 60 * 16000
    for clip, minutes in zip(made[:3], (0, 1, 2), strict=True):
        assert len(clip.noisy) == len(clip.clean) == (minutes + 1) * minute and clip.skip == minutes * minute
        assert np.array_equal(clip.noisy[clip.skip :], made[0].noisy) and np.abs(clip.noisy).max() <= 1
        assert np.array_equal(clip.clean[clip.skip :], made[0].clean)
    assert np.array_equal(made[1].noisy, made[2].noisy[minute:])
    assert not np.array_equal(made[3].noisy, made[0].noisy)  # another minute


def test_several_folders_of_voices_are_kinds(folders, tmp_path):
    for kind, name in (("singing", "a_1.wav"), ("shouting", "b_1.flac"), ("shouting", "short.wav")):
        (tmp_path / kind / "speaker").mkdir(parents=True, exist_ok=True)
        shutil.copy(folders / "clean" / name, tmp_path / kind / "speaker" / name)
    corpus = sets.from_folders([tmp_path / "shouting", tmp_path / "singing"], folders / "noise")
    made = list(sets.clips(corpus, ["noise", "clean"], 3, 3, tmp_path))
    assert [c.group for c in made] == ["shouting", "singing", "shouting"] * 2  # the short one is left out
    assert not any(c.dnsmos for c in made)
    ratios = [10 * np.log10(np.mean(c.clean**2) / np.mean((c.noisy - c.clean) ** 2)) for c in made[:3]]
    assert ratios == pytest.approx(sets.SNRS_DB[:3], abs=0.1)
    one = sets.from_folders([tmp_path / "singing"], folders / "noise")
    [clip] = sets.clips(one, ["noise"], 1, 3, tmp_path)
    assert clip.group == "-5 dB" and clip.dnsmos  # folders of speakers are no kinds


def test_pairs_must_match(folders, tmp_path):
    (clip,) = sets.pairs(folders / "noisy", folders / "clean")
    assert clip.name == "b_1" and len(clip.noisy) == len(clip.clean) == 32000
    soundfile.write(tmp_path / "b_1.wav", np.zeros(9000), 16000)
    with pytest.raises(InputError, match=r"b_1\.wav lasts 0\.56 s, its clean recording 2\.00 s"):
        list(sets.pairs(tmp_path, folders / "clean"))
    (tmp_path / "b_1.wav").rename(tmp_path / "other.wav")
    with pytest.raises(InputError, match="namesake"):
        list(sets.pairs(tmp_path, folders / "clean"))
    with pytest.raises(InputError, match="no audio files in"):
        (tmp_path / "empty").mkdir()
        sets.from_folders([folders / "clean"], tmp_path / "empty")


def test_rooms_reverberate_as_wanted_around_their_direct_path(tmp_path, monkeypatch):
    pra = pytest.importorskip("pyroomacoustics")
    from edge.benchmarks.quality import rooms

    rooms.simulate(tmp_path / rooms.FILE, count=2)
    responses, times = rooms.evaluation_rooms(tmp_path)
    assert responses.shape == (2, 2, rooms.LENGTH)
    for (whole, direct), rt60 in zip(responses, times, strict=True):
        at = int(np.argmax(np.abs(direct)))
        assert direct[at] == pytest.approx(1, abs=1e-3)
        assert whole[: at + 2] == pytest.approx(direct[: at + 2], abs=0.05)  # nothing reflects before that
        assert np.sum(direct**2) < np.sum(whole**2)
        assert 0.3 <= rt60 <= 0.8
        assert pra.experimental.measure_rt60(whole, 16000, decay_db=20) == pytest.approx(rt60, rel=0.3)
    monkeypatch.setattr(rooms, "simulate", None)  # read from the file from now on
    assert np.array_equal(rooms.evaluation_rooms(tmp_path)[0], responses)


def test_differences_are_paired_and_failed_systems_left_out():
    clips = [sets.Clip(f"c{k}", "noise", f"{k % 2} dB", *np.full((2, 4), k, np.float32)) for k in range(6)]
    ours, other, failed = System("ours", "ours", "1"), System("input", "input", "2"), System("x", "x", "3")
    scores = Scores(None)
    for k, clip in enumerate(clips):
        scores.add(ours, clip.key, {"pesq": k + 1.0 if k != 3 else None})
        scores.add(other, clip.key, {"pesq": float(k)})
    scores.add(failed, clips[0].key, {"pesq": 9.0})
    made = rows([ours, other, failed], clips, scores)
    assert {row["system"] for row in made} == {"ours", "input"}
    assert [row["group"] for row in made] == ["", "", "0 dB", "0 dB", "1 dB", "1 dB"]
    whole = made[1]
    assert whole["metrics"]["pesq"]["files"] == 5  # the clip without a score counts for nobody
    assert whole["ours_minus"]["pesq"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "files": 5}


@dataclass(frozen=True)
class Duet:
    """A recording of two parts, of which a system may give the last alone."""

    given: tuple[str, ...]
    rate = 16000
    parts = tuple(Part(name, "", f"duet-{name}", f"duet-{name}") for name in ("first", "second"))

    def estimates(self, system, process):
        return dict.fromkeys(self.given, np.full(4, 0.5, np.float32))

    def scoring(self, part, estimate):
        return dict, {"level": float(estimate[0])}


def test_every_part_is_scored_once_and_a_system_that_fails_is_named(tmp_path):
    failing = System("x", "x", "1", Launch("x", tmp_path / "no-python", "enhancers.py:Gtcrn"))
    path, labels = tmp_path / "scores.jsonl", []
    test = Duet(("second",))
    [line] = run_systems([failing, System("a", "A", "1")], [test], Scores(path), 1, tmp_path, [test], labels.append)
    assert "no-python cannot be started" in line and labels == ["A"]
    assert Scores(path).get(System("a", "A", "1"), "duet-second") == {"level": 0.5}
    assert Scores(path).get(System("a", "A", "1"), "duet-first") is None  # not given
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["duet-second.flac"]
    before = path.read_text()
    run_systems([System("a", "A", "1")], [Duet(("first", "second"))], Scores(path), 1, tmp_path, [test])
    assert path.read_text() == before
    (tmp_path / "a" / "duet-second.flac").unlink()  # the page lacks it: made again
    run_systems([System("a", "A", "1")], [test], Scores(path), 1, tmp_path, [test])
    assert (tmp_path / "a" / "duet-second.flac").exists()


def test_scores_are_read_again_even_after_a_cut(tmp_path):
    system, path = System("a", "a", "1"), tmp_path / "scores.jsonl"
    scores = Scores(path)
    scores.add(system, "x", {"pesq": 1.5})
    scores.add(system, "y", {"pesq": 2.5})
    path.write_text(path.read_text()[:-5])
    again = Scores(path)
    assert again.get(system, "x") == {"pesq": 1.5} and again.get(system, "y") is None
    assert again.get(System("a", "a", "2"), "x") is None  # another checkpoint


def test_scores_of_other_metrics_are_taken_again(tmp_path, monkeypatch):
    system, path = System("a", "a", "1"), tmp_path / "scores.jsonl"
    Scores(path).add(system, "x", {"lsd": 0.1})
    monkeypatch.setattr(systems, "_METRICS", "a new definition")
    assert Scores(path).get(system, "x") is None
    Scores(path).add(system, "x", {"lsd": 3.7})
    assert Scores(path).get(system, "x") == {"lsd": 3.7}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in ("src", "href") and value]


def links(page: Path) -> list[str]:
    parser = _Links()
    parser.feed(page.read_text())
    return parser.found


def test_own_folders_end_to_end(folders, enhancer_path, tmp_path, capsys):
    for package in ("pesq", "pystoi", "speechmos", "librosa", "matplotlib"):
        pytest.importorskip(package)
    out = tmp_path / "out"
    arguments = ["enhancer", "--bundle", str(enhancer_path), "--clean", str(folders / "clean")]
    arguments += ["--noise", str(folders / "noise"), "--conditions", "noise,silence", "--files", "2"]
    arguments += ["--peers", "none", "--jobs", "1", "-o", str(out), "--json"]
    assert command.main(arguments) == 0
    content = json.loads(capsys.readouterr().out)
    found = {(r["condition"], r["group"], r["system"]): r["metrics"] for r in content["rows"]}
    ours, noisy = found["noise", "", "ours"], found["noise", "", "input"]
    # the tiny bundle halves the input: scale-free figures stay
    assert ours["si_sdr"]["mean"] == pytest.approx(noisy["si_sdr"]["mean"], abs=0.01)
    assert ours["si_sdr"]["mean"] == pytest.approx(-2.5, abs=0.7)  # -5 and 0 dB
    assert found["silence", "", "ours"]["residual"]["mean"] == -120
    assert content == json.loads((out / "report.json").read_text())
    linked = links(out / "index.html")
    assert any(link.endswith(".flac") for link in linked) and any(link.endswith(".png") for link in linked)
    assert all((out / link).is_file() and not link.startswith("/") for link in linked)
    assert {p.name for p in (out / "set" / "noisy").iterdir()} == {p.name for p in (out / "set" / "clean").iterdir()}
    before = (out / "scores.jsonl").read_text()
    assert command.main([*arguments[:-1]]) == 0  # again: nothing is computed twice
    assert (out / "scores.jsonl").read_text() == before
    assert "tiny-enhance (fp32 bundle)" in capsys.readouterr().out
    table = markdown(content)
    assert re.search(r"\| noisy input \| \d\.\d\d \[", table) and "| -5 dB |" in table
    assert text(content).count("SI-SDR dB") >= 2


def test_the_past_of_a_stream_is_not_scored(folders, enhancer_path, monkeypatch, capsys):
    for package in ("pesq", "pystoi", "speechmos", "librosa"):
        pytest.importorskip(package)
    monkeypatch.setattr(sets, "HISTORY", (0, 1))
    arguments = ["enhancer", "--bundle", str(enhancer_path), "--clean", str(folders / "clean"), "--peers", "none"]
    arguments += ["--noise", str(folders / "noise"), "--conditions", "long", "--files", "2", "--json"]
    assert command.main(arguments) == 0
    found = {(r["group"], r["system"]): r["metrics"] for r in json.loads(capsys.readouterr().out)["rows"]}
    for system in ("ours", "input"):  # the tiny bundle has no memory that lasts: the same minute, the same figures
        assert found["1 min before", system] == found["0 min before", system]
    assert found["", "ours"]["kept"]["mean"] == pytest.approx(-6, abs=0.5)  # it halves, the noise fills a little in
    assert set(found["", "ours"]) == {"pesq", "estoi", "si_sdr", "kept"}


def test_songs_end_to_end(separator_path, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    stems = (0.1 * rng.standard_normal((3, 4, 2, 44100))).astype(np.float32)
    stems[1, 3] = 0  # an instrumental
    music = tmp_path / "data" / "music"
    items = []
    for k, split in enumerate(["test", "test", "train"]):
        file = write_shard(music, f"song-{k}", stems[k])
        items.append(Item(file, "song", split, f"song-{k}", "made", "1", "CC0", 1.0))
    write_manifest(music, "music", 44100, items)
    out = tmp_path / "out"
    arguments = ["htdemucs-mini", "--bundle", str(separator_path), "--data", str(tmp_path / "data")]
    assert command.main([*arguments, "--peers", "none", "-o", str(out), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    found = {(row["condition"], row["system"]): row["metrics"]["sdr"] for row in content["rows"]}
    mix = stems[0].sum(axis=0)
    assert found["vocals", "ours"]["files"] == 1 and found["drums", "ours"]["files"] == 2
    assert found["vocals", "ours"]["mean"] == pytest.approx(sdr(stems[0, 3], GAINS[3] * mix), abs=0.05)
    assert found["vocals", "input"]["mean"] == pytest.approx(sdr(stems[0, 3], mix), abs=0.05)
    assert found["bass", "best-gain"]["mean"] >= found["bass", "ours"]["mean"]
    assert found["bass", "best-gain"]["mean"] > 0  # the best constant is never worse than silence
    assert "no real guitar pairs" in content["missing"][0]
    assert all((out / link).is_file() for link in links(out / "index.html"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enhancer", "--noise", "x"], "--noise and --noisy need --clean DIR"),
        (["enhancer", "--clean", "x"], "--clean needs either --noise DIR or --noisy DIR"),
        (["enhancer", "--clean", "x", "--noise", "y", "--noisy", "z"], "--clean needs either"),
        (["enhancer", "--clean", "x", "y", "--noisy", "z"], "--noisy goes with one folder of --clean"),
        (["htdemucs-mini", "--conditions", "noise"], "are for the enhancer"),
        (["enhancer", "--peers", "spleeter"], "unknown peer 'spleeter'"),
        (["enhancer", "--peers", "none", "--conditions", "rain"], "unknown condition 'rain'"),
        (["enhancer", "--peers", "none", "--checkpoint", "nothing.safetensors"], "nothing.safetensors: no such"),
        (["enhancer", "--peers", "none", "--data", "nowhere"], "edge-train data speech"),
        (["htdemucs-mini", "--peers", "none", "--data", "nowhere"], "edge-train data music"),
        (["enhancer", "--peers", "none", "--clean", "nowhere", "--noise", "x"], "nowhere is not a folder"),
    ],
)
def test_bad_use_is_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    for package in ("pesq", "pystoi", "speechmos", "librosa"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_hour_is_run_only_where_it_is_asked_for(folders, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sets, "clips", lambda corpus, conditions, *rest: asked.append(list(conditions)) or [])
    given = {"model": "enhancer", "clean": [folders / "clean"], "noise": folders / "noise"}
    run._clips(run.Options(**given))
    run._clips(run.Options(**given, conditions="long, noise"))
    assert asked == [[c for c in sets.CONDITIONS if c != "long"], ["long", "noise"]]


def test_a_bundle_of_another_task_is_refused(separator_path, capsys):
    pytest.importorskip("pesq")
    assert command.main(["enhancer", "--bundle", str(separator_path), "--peers", "none"]) == 2
    assert "of another task" in capsys.readouterr().err


def test_the_results_in_the_document_are_those_of_the_reports():
    from edge.benchmarks.quality.docs import with_results

    docs = Path(__file__).parents[2] / "docs"
    reports = sorted((docs / "results").glob("eval_*.json"))
    document = (docs / "evaluation.md").read_text()
    assert with_results(document, reports) == document
    assert reports and "| noisy input |" in document
    with pytest.raises(InputError, match="marks"):
        with_results("no marks", reports)
