"""Data: what was asked for is what is mixed, and nothing held out is trained on."""

import importlib.util

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.train import main
from edge.errors import InputError
from edge.training import rooms, shards, songs, speech
from edge.training.mixing import SongMixer, SpeechMixer, mix_at_snr


def _power(x):
    return float(np.mean(np.square(x, dtype=np.float64)))


def _write(path, audio, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="FLOAT")


@pytest.fixture
def voice_folders(tmp_path):
    """Five speakers at 22.05 kHz, and the same recordings with noise added."""
    rng = np.random.default_rng(1)
    for k in range(5):
        for take in range(2):
            time = np.arange(22050 * 2) / 22050
            clean = 0.2 * np.sin(2 * np.pi * (150 + 40 * k) * time) * (1 + np.sin(2 * np.pi * 3 * time))
            _write(tmp_path / "clean" / f"p{k}_{take}.wav", clean, 22050)
            _write(tmp_path / "noisy" / f"p{k}_{take}.wav", clean + 0.05 * rng.standard_normal(len(clean)), 22050)
    return tmp_path


@settings(max_examples=30, deadline=None)
@given(st.floats(-20, 40), st.floats(1e-3, 1), st.integers(0, 1000))
def test_the_snr_is_the_one_asked_for(snr, level, seed):
    rng = np.random.default_rng(seed)
    voice = level * rng.standard_normal(2000).astype(np.float32)
    scaled = mix_at_snr(voice, rng.standard_normal(2000).astype(np.float32), snr)
    assert 10 * np.log10(_power(voice) / _power(scaled)) == pytest.approx(snr, abs=0.01)


def test_user_folders_become_disjoint_splits(voice_folders):
    speech.build_from_folders(voice_folders, voice_folders / "clean", None, voice_folders / "noisy")
    items = shards.read_manifest(voice_folders / "speech")
    groups = {s: {i.group for i in items if i.split == s and i.kind == "speech"} for s in shards.SPLITS}
    assert set.union(*groups.values()) == {f"p{k}" for k in range(5)}
    assert sum(map(len, groups.values())) == 5 and all(groups.values())
    noise = next(shards.open_shard(voice_folders / "speech", i) for i in items if i.kind == "noise")
    # white noise at 22.05 kHz loses the part above 8 kHz
    assert np.sqrt(_power(noise / 32768)) == pytest.approx(0.05 * np.sqrt(16 / 22.05), rel=0.05)
    noisy, clean = SpeechMixer(voice_folders / "speech", "test", 8000).at_snr(np.random.default_rng(0), 5)
    assert 10 * np.log10(_power(clean) / _power(noisy - clean)) == pytest.approx(5, abs=0.05)


def test_the_recipe_holds_out_whole_voices_grooves_and_songs():
    assert not speech.HELD_OUT["test"] & speech.HELD_OUT["validation"]
    dealt = speech.deal(f"library{k:02d}" for k in range(37))
    assert {s: list(dealt.values()).count(s) for s in shards.SPLITS} == {"train": 29, "validation": 4, "test": 4}
    assert [songs.split_of(i) for i in (0, 5, 7, 40)] == ["test", "validation", "train", "test"]
    with pytest.raises(InputError, match="at least 3"):
        speech.deal(["a", "b"])


def test_trim_keeps_speech_and_cuts_pauses():
    tone = 0.3 * np.sin(np.arange(16000) * 0.3).astype(np.float32)
    silence = np.zeros(16000, np.float32)
    cut = speech.trim(np.concatenate([silence, tone, silence, tone, silence]))
    assert 2.4 * 16000 <= len(cut) <= 2.6 * 16000
    assert len(speech.trim(np.zeros(10, np.float32))) == 0 and len(speech.trim(silence)) == 0


def test_the_direct_path_is_the_start_of_the_room():
    response = np.zeros(3000)
    response[[100, 110, 300, 2000]] = [-0.5, 0.1, 0.2, 0.1]
    whole, direct = rooms.split_direct(response)
    assert whole[0] == direct[0] == 1 and whole[200] == pytest.approx(-0.4) and whole[1900] == pytest.approx(-0.2)
    assert -0.2 < direct[10] < 0 and not direct[40:].any()


def test_rooms_that_validate_are_not_trained_on(tmp_path):
    np.save(tmp_path / "rooms.npy", np.arange(40 * 2, dtype=np.float16).reshape(40, 2, 1))
    train, held_out = rooms.load_rooms(tmp_path), rooms.load_rooms(tmp_path, "validation")
    assert len(train) == 36 and len(held_out) == 4
    assert not set(train.ravel()) & set(held_out.ravel())


def test_song_folders_in_the_layout_of_musdb(tmp_path):
    rng = np.random.default_rng(2)
    for split, count in (("train", 12), ("test", 2)):
        for k in range(count):
            for stem in songs.STEMS:
                _write(tmp_path / "musdb" / split / f"{split}{k}" / f"{stem}.wav", 0.1 * rng.random((30000, 2)), 44100)
    assert main(["data", "music", "--musdb", str(tmp_path / "musdb"), "--out", str(tmp_path)]) == 0
    items = shards.read_manifest(tmp_path / "music")
    names = {s: {i.group for i in items if i.split == s} for s in shards.SPLITS}
    assert names["test"] == {"test0", "test1"} and len(names["validation"]) >= 1 and len(names["train"]) >= 9
    stems = SongMixer(tmp_path / "music", "train", 22050).stems(np.random.default_rng(3))
    assert stems.shape == (4, 2, 22050) and stems.dtype == np.float32
    with pytest.raises(InputError, match="no songs"):
        SongMixer(tmp_path / "music", "train", 44100)


def test_missing_data_is_one_line_and_exit_2(tmp_path, capsys):
    assert main(["enhancer", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "manifest.json" in error and "edge-train data speech" in error
    assert main(["data", "speech", "--clean", str(tmp_path / "none")]) == 2
    assert main(["data", "speech", "--noise", str(tmp_path)]) == 2


def test_a_sung_note_has_the_pitch_of_the_tune():
    if importlib.util.find_spec("pyworld") is None:
        pytest.skip("pyworld is not installed")
    from edge.training.vocals import sing

    rate, time = 16000, np.arange(24000) / 16000
    words = sum(np.sin(2 * np.pi * 120 * h * time) / h for h in range(1, 20)) * 0.1
    sung = sing(words, rate, [(0.0, 2.0, 52)], 0.5, rate, np.random.default_rng(0))  # E3: 164.8 Hz
    middle = sung[rate // 4 : 3 * rate // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 16))
    low = int(100 / rate * 65536)
    peak = (low + np.argmax(spectrum[low : 2 * low])) * rate / 65536
    assert peak == pytest.approx(164.8, rel=0.02)
