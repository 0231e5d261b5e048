"""Decoding, resampling and writing, with the file formats' own arithmetic as the oracle."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.audio import OUTPUT_FORMATS, AudioReader, AudioWriter, Resampler, output_format
from edge.audio.media import has_pyav
from edge.errors import EdgeError, InputError
from edge.outputs import output_file, output_folder


def noise(frames: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(np.float32)


def tone(frames: int, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(frames) / rate)).astype(np.float32)[:, None]


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "PCM_32", 2**-23),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("RF64", "FLOAT", 0),
        ("AIFF", "PCM_16", 2**-15),
        ("AU", "PCM_16", 2**-15),
        ("CAF", "FLOAT", 0),
        ("W64", "FLOAT", 0),
        ("FLAC", "PCM_24", 2**-23),
    ],
)
def test_lossless_files_decode_exactly_whatever_the_block(tmp_path, format, subtype, tolerance):
    audio = noise(10_001, 3)
    soundfile.write(tmp_path / "x", audio, 22050, subtype, format=format)
    with AudioReader(tmp_path / "x") as reader:
        assert (reader.sample_rate, reader.channels, reader.frames) == (22050, 3, 10_001)
        for block in (999, 65536):  # a second pass starts from the beginning
            blocks = list(reader.blocks(block))
            assert max(map(len, blocks)) <= block and blocks[0].dtype == np.float32
            np.testing.assert_allclose(np.concatenate(blocks), audio, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("format", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_lossy_files_keep_their_length(tmp_path, format, subtype):
    audio = np.repeat(tone(48_000, 48_000), 2, axis=1)
    soundfile.write(tmp_path / "x", audio, 48_000, subtype, format=format)
    with AudioReader(tmp_path / "x") as reader:
        decoded = np.concatenate(list(reader.blocks()))
    assert decoded.shape == audio.shape
    assert np.abs(decoded[2000:-2000] - audio[2000:-2000]).max() < 0.05


@pytest.mark.parametrize("format", ["WAV", "RF64", "AIFF", "AU", "CAF", "W64", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, format, kept):
    soundfile.write(tmp_path / "x", noise(50_000), 44100, format=format)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"truncated|malformed|damaged"), AudioReader(tmp_path / "cut") as reader:
        for _ in reader.blocks():
            pass


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_streaming_wav_headers_are_tolerated(tmp_path, size):
    """ffmpeg and sox leave such sizes when they write to a pipe."""
    file = tmp_path / "x.wav"
    soundfile.write(file, noise(5000), 44100, "PCM_16")
    content = bytearray(file.read_bytes())
    at = content.index(b"data")
    content[at + 4 : at + 8] = content[4:8] = size.to_bytes(4, "little")
    file.write_bytes(content)
    with AudioReader(file) as reader:
        assert sum(map(len, reader.blocks())) == 5000


def test_flac_of_undeclared_length(tmp_path):
    """As an encoder leaves it that writes to a pipe: STREAMINFO's 36 bits of total samples are 0."""
    soundfile.write(tmp_path / "x.flac", noise(200_000), 44100)
    content = bytearray((tmp_path / "x.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "x.flac").write_bytes(content)
    with AudioReader(tmp_path / "x.flac") as reader:
        assert reader.frames == 200_000  # the last frame tells
        for _ in range(2):
            decoded = np.concatenate(list(reader.blocks()))
            np.testing.assert_allclose(decoded, noise(200_000), atol=2**-15, rtol=0)


def test_wav_with_chunks_around_the_samples(tmp_path):
    file = tmp_path / "x.wav"
    soundfile.write(file, noise(5000), 44100, "PCM_16")
    content = file.read_bytes()
    junk = b"LIST" + (5).to_bytes(4, "little") + b"abcde\0"  # odd sizes are padded
    body = content[12:36] + junk + content[36:] + junk
    file.write_bytes(b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WAVE" + body)
    with AudioReader(file) as reader:
        assert sum(map(len, reader.blocks())) == 5000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_place_of_a_bad_sample_is_named(tmp_path, value):
    audio = noise(100_000)
    audio[70_123, 1] = value
    soundfile.write(tmp_path / "x.wav", audio, 10_000, "FLOAT")
    with (
        pytest.raises(InputError, match=rf"sample 70123 \(at 7\.012 s\) of channel 2 is {value}"),
        AudioReader(tmp_path / "x.wav") as reader,
    ):
        list(reader.blocks())


RATES = st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])


@settings(max_examples=60, deadline=None)
@given(source=RATES, target=RATES, frames=st.integers(1, 3000), size=st.integers(1, 1000))
def test_resampled_length(source, target, frames, size):
    resampler = Resampler(source, target, 2)
    audio = noise(frames)
    parts = [resampler.process(audio[i : i + size]) for i in range(0, frames, size)]
    out = np.concatenate([*parts, resampler.flush()])
    assert out.shape[1] == 2 and len(out) == pytest.approx(max(1, frames * target / source), abs=1)


@pytest.mark.parametrize(("source", "target"), [(44100, 16000), (96000, 44100), (8000, 44100), (48000, 16000)])
def test_resampling_is_aligned(source, target):
    """The oracle is the tone itself at the other rate: a delay of one sample would cost 25 dB."""
    resampler = Resampler(source, target, 1)
    audio = tone(source, source)
    parts = [resampler.process(audio[i : i + 777]) for i in range(0, len(audio), 777)]
    out = np.concatenate([*parts, resampler.flush()])
    edge = target // 10
    error = out[edge:-edge] - tone(len(out), target)[edge:-edge]
    assert 20 * np.log10(0.5 / np.abs(error).max()) > 80


@pytest.mark.parametrize("name", sorted(OUTPUT_FORMATS))
def test_written_files_read_back(tmp_path, name):
    format = OUTPUT_FORMATS[name]
    if name == "m4a" and not has_pyav() and shutil.which("ffmpeg") is None:
        pytest.skip("neither PyAV nor ffmpeg is installed")
    file = tmp_path / f"x{format.extension}"
    audio = np.repeat(tone(48_000, 48_000), 2, axis=1)
    with AudioWriter(file, 48_000, 2, format=output_format(file, name)) as writer:
        writer.write(audio[:1000])
        writer.write(audio[1000:])
    with AudioReader(file) as reader:
        decoded = np.concatenate(list(reader.blocks()))
    tolerance = {"FLOAT": 0, "PCM_24": 2**-23, "PCM_16": 2**-15}.get(format.subtype, 0.05)
    if name == "m4a":  # its length is in milliseconds: up to one of the encoder's padding stays
        assert 0 <= len(decoded) - len(audio) <= 49
        decoded = decoded[: len(audio)]
    assert decoded.shape == audio.shape
    whole = slice(None) if tolerance < 0.05 else slice(1000, -1000)  # lossy encoders fade the ends
    np.testing.assert_allclose(decoded[whole], audio[whole], atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["opus", "mp3", "m4a"])
def test_rates_that_a_format_lacks_are_converted_with_a_word(tmp_path, name):
    file = tmp_path / f"x.{name}"
    with AudioWriter(file, 192_000, 1) as writer:
        writer.write(tone(192_000, 192_000))
    assert "in place of 192000" in writer.notes[0]
    with AudioReader(file) as reader:
        decoded = np.concatenate(list(reader.blocks()))
        rate = reader.sample_rate
    assert rate == 48_000 and 0 <= len(decoded) - 48_000 <= (49 if name == "m4a" else 0)
    decoded = decoded[:rate]
    np.testing.assert_allclose(decoded[2000:-2000], tone(rate, rate)[2000:-2000], atol=0.05)


def test_wav_output_is_float_and_beyond_4_gib_rf64(tmp_path, monkeypatch):
    for frames, limit, format in ((1000, 1 << 32, "WAV"), (0, 1 << 32, "WAVEX"), (0, 100, "RF64")):
        monkeypatch.setattr("edge.audio.writer._4_GIB", limit)
        with AudioWriter(tmp_path / "x.wav", 44100, 2, frames) as writer:
            writer.write(2 * np.ones((10, 2), np.float32))
        info = soundfile.info(tmp_path / "x.wav")
        assert (info.format, info.subtype, info.frames) == (format, "FLOAT", 10)
        assert soundfile.read(tmp_path / "x.wav")[0].max() == 2


def test_clipping_is_counted(tmp_path):
    with AudioWriter(tmp_path / "x.flac", 44100, 1) as writer:
        writer.write(np.array([[0.5], [1.5], [-2.0]], np.float32))
        assert writer.clipped == 2
    np.testing.assert_allclose(soundfile.read(tmp_path / "x.flac")[0], [0.5, 1, -1], atol=1e-6)


def test_formats_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"unknown output extension '\.xyz'"):
        output_format(tmp_path / "x.xyz")
    with pytest.raises(InputError, match="with 8 channel"):
        AudioWriter(tmp_path / "x.mp3", 96_000, 8)


def test_bad_samples_are_not_written(tmp_path):
    with pytest.raises(EdgeError, match="NaN"), AudioWriter(tmp_path / "x.wav", 44100, 1) as writer:
        writer.write(np.array([[np.nan]], np.float32))


def test_output_file_appears_only_when_done(tmp_path):
    target = tmp_path / "new" / "x.wav"
    with pytest.raises(RuntimeError), output_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not (tmp_path / "new").exists()  # a folder that was made for it goes too
    with output_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert os.listdir(tmp_path / "new") == ["x.wav"]
    with pytest.raises(InputError, match="is a folder"), output_file(tmp_path / "new"):
        pass


def test_output_folder_appears_only_when_done(tmp_path):
    target = tmp_path / "stems"
    with pytest.raises(RuntimeError), output_folder(target) as temporary:
        (temporary / "a.wav").write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    for content in ("first", "second"):
        with output_folder(target) as temporary:
            (temporary / "a.wav").write_text(content)
            assert not (target / "a.wav").exists() or (target / "a.wav").read_text() == "first"
        assert (target / "a.wav").read_text() == content
        (target / "mine.txt").write_text("stays")
    assert sorted(os.listdir(target)) == ["a.wav", "mine.txt"] and os.listdir(tmp_path) == ["stems"]
    with pytest.raises(InputError, match="is a file"), output_folder(target / "a.wav"):
        pass
