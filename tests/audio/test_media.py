"""What phones and cameras give, what goes out, and the tags: by PyAV, by the ffmpeg command, or with a word."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.audio import AudioReader, AudioWriter, m4a, media
from edge.audio.tags import Tags, read_tags
from edge.errors import InputError

RATE = 44100
SECONDS = np.arange(3 * RATE) / RATE
SWEEP = (0.5 * np.sin(2 * np.pi * (300 + 400 * SECONDS) * SECONDS)).astype(np.float32)
KINDS = ["m4a", "mp4", "mov", "webm", "mka", "wma", "aac", "ac3", "wv"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("media")
    soundfile.write(folder / "x.wav", np.stack([SWEEP, SWEEP], 1), RATE, "PCM_16")
    for kind in KINDS:
        command = ["ffmpeg", "-v", "error", "-i", "x.wav", f"x.{kind}"]
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture(params=["pyav", "ffmpeg"])
def by(request, monkeypatch) -> str:
    if request.param == "pyav":
        pytest.importorskip("av")
    else:
        for module in (media, m4a):
            monkeypatch.setattr(module, "has_pyav", lambda: False)
    return request.param


def read(path: Path) -> tuple[np.ndarray, int]:
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks())), reader.sample_rate


@pytest.mark.parametrize("kind", KINDS)
def test_level_and_place_are_those_of_ffmpeg(made, by, kind):
    audio, rate = read(made / f"x.{kind}")
    command = ["ffmpeg", "-v", "error", "-i", f"x.{kind}", "-c:a", "pcm_f32le", "-f", "f32le", "-"]
    done = subprocess.run(command, cwd=made, capture_output=True, check=True)
    expected = np.frombuffer(done.stdout, "<f4").reshape(-1, 2)
    assert abs(len(audio) - len(expected)) <= 2048 and abs(len(audio) / rate - 3) < 0.1
    count = min(len(audio), len(expected))
    np.testing.assert_allclose(audio[:count], expected[:count], atol=2e-3)


@pytest.mark.parametrize("kind", ["m4a", "mov", "webm", "wma"])
def test_truncated_files_are_refused(made, by, kind, tmp_path):
    content = (made / f"x.{kind}").read_bytes()
    (tmp_path / f"x.{kind}").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(InputError):
        read(tmp_path / f"x.{kind}")


def test_without_a_decoder_both_are_named(made, monkeypatch):
    for module in (media, m4a):
        monkeypatch.setattr(module, "has_pyav", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r'MP4.*pip install "stem-edge\[media\]", or ffmpeg'):
        AudioReader(made / "x.m4a")
    with pytest.raises(InputError, match="ffmpeg"):
        AudioWriter(made / "y.m4a", RATE, 2)


@pytest.mark.parametrize("content", [b"la la la\n" * 999, b"\0" * 5000, b"\x1a\x45\xdf\xa3" + b"x" * 999, b"RIFF"])
def test_what_is_no_recording(tmp_path, by, content):
    (tmp_path / "x.m4a").write_bytes(content)
    with pytest.raises(InputError, match="not an audio file"):
        AudioReader(tmp_path / "x.m4a")


def test_m4a_out(tmp_path, by, made):
    with AudioWriter(tmp_path / "y.m4a", RATE, 2) as writer:
        for start in range(0, len(SWEEP), 5000):
            writer.write(np.stack([SWEEP, SWEEP], 1)[start : start + 5000])
    audio, rate = read(tmp_path / "y.m4a")
    assert rate == RATE and 0 <= len(audio) - len(SWEEP) <= RATE // 1000 + 1
    audio = audio[: len(SWEEP)]
    assert 10 * np.log10(np.mean(SWEEP**2) / np.mean((audio[:, 0] - SWEEP) ** 2)) > 20


FIELDS = {"title": ["Grüße"], "artist": ["A", "B"], "album": ["Album"], "date": ["2024"], "tracknumber": ["3/12"]}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


@pytest.mark.parametrize("source", ["mp3", "flac", "ogg", "opus", "m4a", "wav", "aiff"])
@pytest.mark.parametrize("target", ["mp3", "flac", "ogg", "opus", "m4a", "wav", "aiff"])
def test_tags_and_cover_go_over(tmp_path, source, target):
    pytest.importorskip("mutagen")
    pytest.importorskip("av")
    given = Tags(FIELDS | {"mood": ["calm"], "replaygain_track_gain": ["-7 dB"]}, ("image/png", PNG))
    for name, tags in ((f"a.{source}", given), (f"b.{target}", None)):
        tags = tags or read_tags(tmp_path / f"a.{source}")
        with AudioWriter(tmp_path / name, 48000, 1, tags=tags) as writer:
            writer.write(SWEEP[:20_000, None])
    found = read_tags(tmp_path / f"b.{target}")
    for name, values in FIELDS.items():
        assert "/".join(found.fields[name]) == "/".join(values), name
    assert found.fields["mood"] == ["calm"] and "replaygain_track_gain" not in found.fields
    assert found.cover == ("image/png", PNG)
    assert 0 <= len(read(tmp_path / f"b.{target}")[0]) - 20_000 <= (48 if target == "m4a" else 0)


def test_the_usual_fields_without_mutagen(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with AudioWriter(tmp_path / "a.flac", RATE, 1, tags=Tags(FIELDS)) as writer:
        writer.write(SWEEP[:9000, None])
    assert read_tags(tmp_path / "a.flac").fields["title"] == ["Grüße"]


def test_broadcast_chunks_go_over_and_the_time_reference_moves(tmp_path):
    body = bytearray(602)
    body[:5] = b"scene"
    body[338:346] = struct.pack("<Q", 1000)
    tags = Tags(chunks=((b"bext", bytes(body)), (b"iXML", b"<x/>")))
    for frames in (9000, 0):  # WAV, and RF64 made narrow
        with AudioWriter(tmp_path / "a.wav", RATE, 1, frames, tags=tags) as writer:
            writer.write(SWEEP[:9000, None])
        found = read_tags(tmp_path / "a.wav")
        assert found.chunks == tags.chunks
        assert struct.unpack("<Q", found.started(500).chunks[0][1][338:346])[0] == 1500
        audio, _ = read(tmp_path / "a.wav")
        np.testing.assert_array_equal(audio[:, 0], SWEEP[:9000])
    assert os.path.getsize(tmp_path / "a.wav") == int.from_bytes((tmp_path / "a.wav").read_bytes()[4:8], "little") + 8


LAYOUTS = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def tones(channels: int) -> np.ndarray:
    """Channel k of float32 (n, channels), 48 kHz, is a tone of 20 (k + 1) Hz: low, for the low-frequency channel."""
    cycles = np.arange(48_000)[:, None] * 20 * np.arange(1, channels + 1) / 48_000
    return (0.2 * np.sin(2 * np.pi * cycles)).astype(np.float32)


def order(audio: np.ndarray) -> list[int]:
    """Which tone each channel has."""
    return [int(np.abs(np.fft.rfft(channel[:48_000], 48_000)).argmax() / 20 + 0.5) for channel in audio.T]


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_ogg_has_its_channels_in_the_order_of_wav(tmp_path, codec, channels):
    """Those of ffmpeg's files when read, and ffmpeg finds them in ours; Opus without speakers stays as it is."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    name, expected = f"x.{'ogg' if codec == 'libvorbis' else 'opus'}", list(range(1, channels + 1))
    given = ["-f", "f32le", "-ar", "48000", "-ac", str(channels), "-channel_layout", LAYOUTS[channels], "-i", "-"]
    for family in ["1", "255"] if codec == "libopus" else [None]:
        made = ["-c:a", codec, "-b:a", f"{96 * channels}k", *(["-mapping_family", family] if family else []), name]
        command = ["ffmpeg", "-v", "error", "-y", *given, *made]
        subprocess.run(command, cwd=tmp_path, input=tones(channels).tobytes(), check=True)
        assert order(read(tmp_path / name)[0]) == expected

    with AudioWriter(tmp_path / f"out{Path(name).suffix}", 48_000, channels) as writer:
        writer.write(tones(channels))
    command = ["ffmpeg", "-v", "error", "-i", f"out{Path(name).suffix}", "-c:a", "pcm_f32le", "-f", "f32le", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert order(np.frombuffer(done.stdout, "<f4").reshape(-1, channels)) == expected
