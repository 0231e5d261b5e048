"""Files whose headers lie: read whole, or refused in true words. The oracle is the recording that was written."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.audio import AudioReader
from edge.errors import InputError

FRAMES, RATE = 50_000, 44100


def noise(frames: int = FRAMES, channels: int = 2, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(np.float32)


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    with AudioReader(path) as reader:
        blocks = list(reader.blocks())
        assert reader.frames in (0, sum(map(len, blocks)))
        return np.concatenate(blocks), reader.notes


def tool(name: str, *arguments: object) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    subprocess.run([name, *map(str, arguments)], check=True, capture_output=True)


def put_size(content: bytearray, kind: str, size: int | None) -> None:
    """Write `size` bytes of samples into every header field that tells it; None: what a writer leaves at first."""
    wide = {"W64": "<Q", "CAF": ">q", "RF64": "<Q"}.get(kind, "<I" if kind in ("WAV", "WAVEX") else ">I")
    name = b"SSND" if kind == "AIFF" else b"data"
    at = content.find(name)
    if kind == "AU":
        content[8:12] = struct.pack(">I", size or 0)
    elif kind == "RF64":
        content[20:36] = struct.pack("<QQ", (size or 0) + at, size or 0)
    elif kind == "W64":
        content[16:24] = struct.pack(wide, (size or 0) + at + 24)
        content[at + 16 : at + 24] = struct.pack(wide, (size or 0) + 24)
    elif kind == "CAF":
        content[at + 4 : at + 12] = struct.pack(wide, (size or 0) + 4)
    else:
        prefix = 8 if kind == "AIFF" else 0
        content[4:8] = struct.pack(wide, (size or 0) + at + prefix)
        content[at + 4 : at + 8] = struct.pack(wide, (size or 0) + prefix)
    if kind == "AIFF":
        place = content.index(b"COMM") + 10
        content[place : place + 4] = struct.pack(">I", (size or 0) // 4)


CHUNKED = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU"]


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("size", [None, 4000, 4])
def test_sizes_that_were_never_finished_or_written_early(tmp_path, kind, size):
    """A recorder that crashed, or that wrote its header before the samples."""
    soundfile.write(tmp_path / "x", noise(), RATE, "PCM_16", format=kind)
    content = bytearray((tmp_path / "x").read_bytes())
    put_size(content, kind, size)
    (tmp_path / "x").write_bytes(content)
    audio, notes = read(tmp_path / "x")
    np.testing.assert_allclose(audio, noise(), atol=2**-15)
    assert len(notes) == 1 and "are read" in notes[0]


@pytest.mark.parametrize("kind", CHUNKED)
def test_sizes_beyond_the_file_are_refused(tmp_path, kind):
    soundfile.write(tmp_path / "x", noise(), RATE, "PCM_16", format=kind)
    content = bytearray((tmp_path / "x").read_bytes())
    put_size(content, kind, 4 * FRAMES + 4000)
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=r"truncated: the header declares \d+ bytes, the file has"):
        AudioReader(tmp_path / "x")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_a_crashed_recorder_of_every_encoding(tmp_path, subtype):
    channels = 1 if subtype == "GSM610" else 2
    soundfile.write(tmp_path / "x.wav", noise(channels=channels), RATE, subtype)
    expected = soundfile.read(tmp_path / "x.wav", always_2d=True, dtype="float32")[0]
    content = bytearray((tmp_path / "x.wav").read_bytes())
    put_size(content, "WAV", None)
    if b"fact" in content:
        at = content.index(b"fact")
        content[at + 8 : at + 12] = bytes(4)
    (tmp_path / "x.wav").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "x.wav")[0][:FRAMES], expected[:FRAMES])


@pytest.mark.parametrize("odd", [0, 1])
def test_true_sizes_with_chunks_behind_are_believed(tmp_path, odd):
    soundfile.write(tmp_path / "x.wav", noise(FRAMES + odd, 1), RATE, "PCM_U8")
    content = (tmp_path / "x.wav").read_bytes()
    content += b"\0" * (len(content) % 2)
    for behind in (b"", b"LIST\x05\0\0\0abcde\0", b"id3 \x04\0\0\0abcd" + b"cue \x04\0\0\0\0\0\0\0", bytes(300)):
        (tmp_path / "y.wav").write_bytes(content + behind)
        audio, notes = read(tmp_path / "y.wav")
        assert len(audio) == FRAMES + odd and notes == []


def test_a_wav_with_two_data_chunks(tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(), RATE, "PCM_16")
    content = (tmp_path / "x.wav").read_bytes()
    at = content.index(b"data")
    front, samples = content[:at], content[at + 8 :]
    chunks = b"".join(b"data" + struct.pack("<I", len(part)) + part for part in (samples[:1000], samples[1000:]))
    (tmp_path / "x.wav").write_bytes(front + chunks)
    audio, notes = read(tmp_path / "x.wav")
    np.testing.assert_allclose(audio, noise(), atol=1e-4)
    assert len(notes) == 1 and "joined" in notes[0]


TAGS = {
    "ID3v1": b"TAG" + b"title".ljust(125, b"\0"),
    "ID3v2": b"ID3\x03\0\0\0\0\0\x0a" + bytes(10),
    "APE": b"APETAGEX" + struct.pack("<IIII8s", 2000, 32, 0, 1 << 31, b"") + bytes(32),
}


@pytest.mark.parametrize(
    ("kind", "chunk"), [("WAV", b""), ("WAV", b"LIST\x04\0\0\0abcd"), ("AIFF", b""), ("W64", b""), ("CAF", b"")]
)
@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_behind_the_samples_is_no_sound(tmp_path, kind, chunk, tag):
    file = tmp_path / "x.bin"
    soundfile.write(file, noise(), RATE, "PCM_16", format=kind)
    with file.open("ab") as end:
        end.write(chunk + TAGS[tag])
    audio, notes = read(file)
    assert audio.shape == (FRAMES, 2) and notes == []
    np.testing.assert_allclose(audio, noise(), atol=1e-4)


def test_an_empty_recording_with_chunks_behind_stays_empty(tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(0), RATE)
    content = bytearray((tmp_path / "x.wav").read_bytes() + b"LIST\x06\0\0\0abcdef")
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match="no samples"):
        AudioReader(tmp_path / "x.wav")


@pytest.mark.parametrize("behind", [b"", b"LIST\x04\0\0\0abcd"])
def test_beyond_4_gib_with_a_wrapped_size(tmp_path, behind):
    """A sparse file: the size that 32 bits hold is what is over 4 GiB."""
    soundfile.write(tmp_path / "x.wav", noise(100), RATE, "PCM_16")
    head = bytearray((tmp_path / "x.wav").read_bytes()[:44])
    frames = (1 << 30) + 5000
    head[40:44] = struct.pack("<I", 4 * frames % (1 << 32))
    with (tmp_path / "x.wav").open("wb") as file:
        file.write(head)
        file.seek(44 + 4 * frames - 4)
        file.write(b"\1\0\1\0" + behind)
    with AudioReader(tmp_path / "x.wav") as reader:
        assert reader.frames == frames and len(reader.notes) == 1


def test_joined_wav_files(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        soundfile.write(tmp_path / f"{name}.wav", noise(seed=seed), RATE, "PCM_16")
    (tmp_path / "x.wav").write_bytes((tmp_path / "a.wav").read_bytes() + (tmp_path / "b.wav").read_bytes())
    audio, notes = read(tmp_path / "x.wav")
    np.testing.assert_allclose(audio, np.concatenate([noise(seed=1), noise(seed=2)]), atol=2**-15)
    assert notes == ["2 recordings are joined in the file; all are read"]


@pytest.mark.parametrize(("format", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None)])
def test_joined_and_chained_files(tmp_path, format, subtype):
    rate, parts = 48000, []
    for seed in range(3):
        soundfile.write(tmp_path / f"{seed}", noise(20_000 + seed, seed=seed), rate, subtype, format=format)
        parts.append(soundfile.read(tmp_path / f"{seed}", dtype="float32")[0])
    (tmp_path / "x").write_bytes(b"".join((tmp_path / str(seed)).read_bytes() for seed in range(3)))
    audio, notes = read(tmp_path / "x")
    assert notes[0].startswith("3 recordings are")
    np.testing.assert_allclose(audio, np.concatenate(parts), atol=1e-6)


def test_joined_files_of_different_kinds_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.mp3", noise(), 44100)
    soundfile.write(tmp_path / "b.mp3", noise(channels=1), 32000)
    (tmp_path / "x.mp3").write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    with pytest.raises(InputError, match="number 2 has 32000 Hz and 1 channel"):
        AudioReader(tmp_path / "x.mp3")


@pytest.mark.parametrize("options", [["-V2"], ["-V2", "-m", "m"], ["-b", "128"], ["-V5", "--resample", "22.05"]])
@pytest.mark.parametrize("tag", [False, True])
def test_mp3_without_a_xing_frame(tmp_path, options, tag):
    """ffmpeg reads every frame: the oracle for level and place."""
    seconds = np.arange(5 * RATE) / RATE
    rising = (0.5 * np.sin(2 * np.pi * (200 + 300 * seconds) * seconds) * (seconds > 1)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([rising, rising], 1), RATE, "PCM_16")
    more = ["--tt", "A title", "--add-id3v2"] if tag else []
    tool("lame", "--quiet", "-t", *options, *more, tmp_path / "x.wav", tmp_path / "x.mp3")
    audio, _ = read(tmp_path / "x.mp3")
    tool("ffmpeg", "-v", "error", "-i", tmp_path / "x.mp3", "-c:a", "pcm_f32le", tmp_path / "y.wav")
    expected = soundfile.read(tmp_path / "y.wav", always_2d=True)[0]
    assert audio.shape == expected.shape
    np.testing.assert_allclose(audio, expected, atol=2e-4)


def test_mp3_whose_xing_frame_was_written_early(tmp_path):
    soundfile.write(tmp_path / "x.mp3", noise(), RATE)
    expected = soundfile.read(tmp_path / "x.mp3", dtype="float32")[0]
    content = bytearray((tmp_path / "x.mp3").read_bytes())
    at = max(content.find(b"Xing"), content.find(b"Info"))
    content[at + 8 : at + 12] = struct.pack(">I", 5)
    (tmp_path / "x.mp3").write_bytes(content)
    audio, notes = read(tmp_path / "x.mp3")
    assert len(audio) >= FRAMES - 1152 and "all" in notes[0]
    np.testing.assert_allclose(audio[:40_000], expected[:40_000], atol=1e-6)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_without_an_end(tmp_path, subtype):
    """Whole pages without the last: a recorder that crashed. Read, with a note; pages lost in the middle: refused."""
    soundfile.write(tmp_path / "x.ogg", noise(400_000), 48000, subtype, format="OGG")
    content = (tmp_path / "x.ogg").read_bytes()
    pages = [i for i in range(len(content)) if content.startswith(b"OggS", i)]
    (tmp_path / "cut.ogg").write_bytes(content[: pages[-1]])
    audio, notes = read(tmp_path / "cut.ogg")
    assert 200_000 < len(audio) <= 400_000 and "has no end" in notes[0]
    middle = len(pages) // 2
    (tmp_path / "lost.ogg").write_bytes(content[: pages[middle]] + content[pages[middle + 1] :])
    with pytest.raises(InputError, match="pages are missing"):
        AudioReader(tmp_path / "lost.ogg")


@pytest.mark.parametrize("declared", [0, 1000, FRAMES + 1])
def test_flac_whose_header_has_another_length(tmp_path, declared):
    soundfile.write(tmp_path / "x.flac", noise(), RATE)
    content = bytearray((tmp_path / "x.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = struct.pack(">I", declared)
    (tmp_path / "x.flac").write_bytes(content)
    if declared > FRAMES:
        with pytest.raises(InputError, match="truncated"):
            AudioReader(tmp_path / "x.flac")
        return
    audio, notes = read(tmp_path / "x.flac")
    np.testing.assert_allclose(audio, noise(), atol=2**-15)
    assert len(notes) == (declared > 0)


@pytest.mark.parametrize(("peak", "bits"), [(127, 8), (32767, 16), (8_388_607, 24), (2_147_483_647, 32)])
def test_floats_at_integer_scale_are_told(tmp_path, peak, bits):
    audio = np.clip(noise() * 10, -1, 1) * np.float32(peak)
    soundfile.write(tmp_path / "x.wav", audio, RATE, "FLOAT")
    with pytest.raises(InputError, match=rf"{bits}-bit integers.*volume=1/{1 << bits - 1} "):
        read(tmp_path / "x.wav")


def test_peaks_up_to_10_pass_unchanged(tmp_path):
    soundfile.write(tmp_path / "x.wav", noise() * 20, RATE, "FLOAT")
    np.testing.assert_array_equal(read(tmp_path / "x.wav")[0], noise() * 20)
