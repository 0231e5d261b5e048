"""edge-run between other programs: WAV and raw samples on standard input and output, as they come."""

import shutil
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from conftest import GAINS, HOP
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import snr_db
from edge.errors import InputError
from edge.runtime.chain import ChainOptions
from edge.runtime.files import FileOptions, Run
from edge.runtime.pipes import PipeReader, read_wav_header, wav_header


class Pipe:
    """A stream that cannot seek and gives what it likes of what is asked for."""

    def __init__(self, content: bytes, pieces: int = 1000):
        self._content, self._at, self._pieces = content, 0, pieces

    def read(self, count: int) -> bytes:
        out = self._content[self._at : self._at + min(count, self._pieces)]
        self._at += len(out)
        return out


class Sink:
    def __init__(self):
        self.content = b""

    def write(self, content: bytes) -> int:
        self.content += content
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""


def run_pipe(bundle, stream, sink, backend, source=None, latency=None, raw=None, **given) -> int:
    """The frames."""
    options = FileOptions(source=source, chain=ChainOptions(latency=latency))
    run = Run(bundle, backend, 1, options, lambda label, seconds, total: None)
    return run.to_pipe(PipeReader(stream, raw, **given), sink, raw).frames


def noise(frames: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((frames, channels))).astype(np.float32)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edge.cli.run", *map(str, arguments)]


def read_streamed_wav(content: bytes) -> np.ndarray:
    pipe = Pipe(content, 10**9)
    given = read_wav_header(pipe)
    assert given.kind == "<f4" and given.length is None
    return np.frombuffer(pipe.read(10**9), "<f4").reshape(-1, given.channels)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("length", ["told", "unknown", "zero"])
def test_every_wav(enhancer_bundle, tmp_path, subtype, kind, length):
    """libsndfile writes it and reads it back as the oracle; a stream's header does not tell the length."""
    audio = noise(5_001, 2)
    soundfile.write(tmp_path / "x.wav", audio, 16000, subtype, format=kind)
    expected = soundfile.read(tmp_path / "x.wav", dtype="float32")[0]
    content = bytearray((tmp_path / "x.wav").read_bytes())
    if length != "told":
        if kind == "RF64":
            content[28:36] = bytes(8)
        at = content.index(b"data")
        content[at + 4 : at + 8] = b"\xff" * 4 if length == "unknown" or kind == "RF64" else bytes(4)
    sink = Sink()
    assert run_pipe(enhancer_bundle, Pipe(bytes(content), 777), sink, "onnx") == 5_001
    np.testing.assert_allclose(read_streamed_wav(sink.content), 0.5 * expected, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 4000), channels=st.integers(1, 3), pieces=st.integers(1, 5000))
def test_raw_samples_in_any_pieces(enhancer_bundle, frames, channels, pieces):
    audio = noise(frames, channels)
    for raw, content, unit in (
        ("f32le", audio.astype("<f4").tobytes(), 0),
        ("s16le", np.rint(audio * 32768).astype("<i2").tobytes(), 1),
    ):
        sink = Sink()
        run_pipe(enhancer_bundle, Pipe(content, pieces), sink, "onnx", raw=raw, rate=16000, channels=channels)
        out = np.frombuffer(sink.content, "<f4" if raw == "f32le" else "<i2").reshape(-1, channels)
        assert out.shape == audio.shape
        np.testing.assert_allclose(out / (32768 if unit else 1), 0.5 * audio, atol=unit / 32768 + 1e-7)


def test_one_stem_and_another_rate(separator_bundle):
    seconds = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * seconds)).astype("<f4")
    sink, options = Sink(), {"raw": "f32le", "rate": 48000, "source": "vocals", "latency": 0.1}
    run_pipe(separator_bundle, Pipe(tone.tobytes(), 4096), sink, "onnx", **options)
    out = np.frombuffer(sink.content, "<f4")
    assert out.shape == (48_000,)  # mono as it came
    inner = slice(5000, -5000)
    assert snr_db(GAINS[3] * tone[inner], out[inner]) > 60


def test_faulty_samples_do_not_stop_a_pipe(enhancer_bundle, capsys):
    audio = noise(3000)
    audio[1000:1004] = np.nan
    sink = Sink()
    run_pipe(enhancer_bundle, Pipe(audio.astype("<f4").tobytes()), sink, "onnx", raw="f32le", rate=16000)
    assert np.isfinite(np.frombuffer(sink.content, "<f4")).all()
    assert "4 NaN" in capsys.readouterr().err


def test_results_come_before_the_input_ends(enhancer_path):
    """A call through a pipe cannot wait for its end: a second in gives nearly a second out."""
    arguments = command(enhancer_path, "-", "-o", "-", "--raw", "f32le", "--rate", 16000)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        audio = noise(16_000)
        process.stdin.write(audio.tobytes())
        process.stdin.flush()
        guard = threading.Timer(60, process.kill)
        guard.start()
        early = process.stdout.read(4 * (16_000 - 2 * HOP))
        guard.cancel()
        np.testing.assert_array_equal(np.frombuffer(early, "<f4"), 0.5 * audio[: 16_000 - 2 * HOP, 0])
        process.stdin.close()
        assert len(process.stdout.read()) == 4 * 2 * HOP
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "nothing came"),
        (b"ID3 this is an mp3", "no WAV"),
        (wav_header(16000, 1), "no samples"),
        (wav_header(16000, 1)[:30], "ends before"),
        (wav_header(3, 1), "sample rate"),
        (wav_header(16000, 0), "give PCM or float"),
        (wav_header(16000, 1)[:-4] + struct.pack("<I", 4000) + bytes(400), "truncated"),
    ],
)
def test_bad_streams(enhancer_bundle, content, word):
    with pytest.raises(InputError, match=word):
        run_pipe(enhancer_bundle, Pipe(content), Sink(), "onnx")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--raw", "f32le"], "--rate"),
        (["--rate", "8000"], "--raw"),
        (["--channels", "2"], "--raw"),
        (["--latency", "1"], "fixed"),
        (["--json"], "both want stdout"),
        (["--source", "vocals"], "no source"),
    ],
)
def test_bad_use(enhancer_path, options, word, tmp_path):
    arguments = command(enhancer_path, "-", *options)
    done = subprocess.run(arguments, input=wav_header(16000, 1), capture_output=True, cwd=tmp_path)
    error = done.stderr.decode()
    assert done.returncode == 2 and word in error and error.count("\n") == 1 and done.stdout == b""


def test_a_separator_wants_one_source(separator_path):
    done = subprocess.run(command(separator_path, "-"), input=wav_header(44100, 2), capture_output=True)
    assert done.returncode == 2 and b"--source (drums, bass, other, vocals)" in done.stderr


def test_a_reader_that_goes_away(enhancer_path, tmp_path):
    (tmp_path / "x.f32").write_bytes(noise(16_000 * 60).tobytes())
    line = f"{sys.executable} -m edge.cli.run {enhancer_path} - --raw f32le --rate 16000 < x.f32 | head -c 1000"
    done = subprocess.run(line, shell=True, capture_output=True, cwd=tmp_path)
    assert len(done.stdout) == 1000 and b"Traceback" not in done.stderr


@pytest.mark.parametrize("tool", ["ffmpeg", "sox"])
def test_between_ffmpeg_and_sox(enhancer_path, tmp_path, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    audio = noise(50_000, 2)
    soundfile.write(tmp_path / "x.flac", audio, 44100, "PCM_16")
    before, after = {
        "ffmpeg": ("ffmpeg -v error -i x.flac -f wav -", "ffmpeg -v error -f wav -i - -c:a pcm_f32le y.wav"),
        "sox": ("sox x.flac -t wav -e float -b 32 -", "sox -t wav - -e float -b 32 y.wav"),
    }[tool]
    line = f"{before} | {sys.executable} -m edge.cli.run {enhancer_path} - -o - | {after}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arguments = command(enhancer_path, "x.flac", "-o", "z.wav")
    assert subprocess.run(arguments, cwd=tmp_path, capture_output=True).returncode == 0
    piped, rate = soundfile.read(tmp_path / "y.wav", dtype="float32")
    direct = soundfile.read(tmp_path / "z.wav", dtype="float32")[0]
    assert rate == 44100
    np.testing.assert_allclose(piped, direct, atol=1e-6)
