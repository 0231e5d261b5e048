"""edge-run --live through a real sound server: what comes out of the loudspeaker is the offline result."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pulse import pulse_server, write_speech

from edge.bundle import open_bundle
from edge.runtime.session import open_session

RATE = 16000
FADE = 80  # frames of a fade at this rate


def command(bundle: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "edge.cli.run", str(bundle), "--live", "--json", *options]


def live(server, bundle: Path, folder: Path, seconds: float, speak: bool = True) -> tuple[dict, np.ndarray]:
    """Run on the server's devices; returns the report and what the loudspeaker's monitor heard."""
    speech = folder / "speech.wav"
    write_speech(speech, seconds + 10, RATE)
    heard = folder / "heard.raw"
    options = ["--input", "pulse", "--output", "pulse", "--seconds", str(seconds), "--record", str(folder / "record")]
    with server.recorded(heard):
        speaker = server.speak(speech)
        done = subprocess.run(command(bundle, *options), env=server.env, capture_output=True, text=True)
        speaker.kill()
        speaker.wait()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), server.read(heard)[:, 0]


def compare(bundle: Path, report: dict, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What was played, and where it is the offline result of what was captured, to the sample."""
    captured = soundfile.read(folder / "record" / "input.wav", dtype="float32")[0]
    played = soundfile.read(folder / "record" / "output.wav", dtype="float32")[0]
    assert np.abs(captured).max() > 0.1 and len(played) > 0
    session = open_session(open_bundle(bundle), "onnx")
    offline = np.concatenate([session.process(captured), session.flush()])[: len(played)]
    played = played[: len(offline)]
    equal = np.abs(played - offline) <= 1e-6
    # a late block is dry, and its two ends fade; a jump leaves something out, and fades
    allowed = report["late_frames"] + report["jumped_frames"]
    assert np.count_nonzero(~equal) <= allowed + 4 * FADE * (report["late_blocks"] + report["jumps"])
    return played, equal


def found_in(heard: np.ndarray, played: np.ndarray, pieces: int = 30) -> tuple[int, int]:
    """Of some tenths of a second that were played: how many are in what was heard, to the sample, and of how many."""
    found, tried, size = 0, 0, RATE // 10
    spectrum = np.fft.rfft(heard, len(heard) + size)
    for start in np.linspace(0, len(played) - size, pieces).astype(int):
        piece = played[start : start + size]
        if np.abs(piece).max() < 0.05:
            continue
        tried += 1
        likeness = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, len(heard) + size)))
        likeness = likeness[: len(heard) - size]
        places = np.flatnonzero(likeness > 0.9 * likeness.max())  # the speech repeats
        found += any(np.abs(heard[at : at + size] - piece).max() < 1e-4 for at in places)
    return found, tried


def test_some_seconds_through_a_sound_server(enhancer_path, tmp_path):
    with pulse_server(tmp_path, RATE) as server:
        report, heard = live(server, enhancer_path, tmp_path, 6)
    if report["reconnects"] or report["lost_frames"] or report["seconds"] < 2:
        pytest.skip("the sound server broke off: this machine is too busy for sound")
    played, equal = compare(enhancer_path, report, tmp_path)
    assert equal.mean() > 0.9 - 2 * report["late_share"] - report["jumped_frames"] / len(equal)
    if report["xruns"] == 0:  # each leaves a gap in what is heard
        found, tried = found_in(heard, played)
        assert found > 0.7 * tried
    latency = report["latency_ms"]
    assert latency["round_trip"] <= latency["model"] + 2 * latency["block"] + 0.1


def begin(server, bundle, *options: str):
    """A live run that Ctrl-C ends, and a function that reads what it says up to a word and returns the lines before."""
    process = subprocess.Popen(
        command(bundle, "--input", "pulse", "--output", "pulse", *options),
        env=server.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def wait_for(word: str) -> list[str]:
        assert process.stderr is not None
        told: list[str] = []
        while word not in (line := process.stderr.readline()):
            assert line, f"it ended before {word!r}"
            told.append(line)
        return told

    return process, wait_for


def test_interrupted_live_run_ends_well(enhancer_path, tmp_path):
    with pulse_server(tmp_path, RATE) as server:
        process, wait_for = begin(server, enhancer_path, "--record", str(tmp_path / "record"))
        wait_for("latency")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in err
    assert json.loads(out)["frames"] >= 0
    assert sorted(os.listdir(tmp_path / "record")) == ["input.wav", "output.wav"]


def test_a_device_that_vanishes_is_found_again(enhancer_path, tmp_path):
    record = str(tmp_path / "record")
    with pulse_server(tmp_path, RATE) as server:
        process, wait_for = begin(server, enhancer_path, "--seconds", "40", "--record", record)
        told = wait_for("latency")
        began = time.monotonic()
        time.sleep(1)
        server.stop()
        told += wait_for("has vanished")
        server.start()
        told += wait_for("is back")
        time.sleep(1)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    report = json.loads(out)
    assert process.returncode == 0 and report["reconnects"] >= 1 and "Traceback" not in err
    assert not any("pa_linux_alsa" in line for line in told)  # PortAudio's own words
    captured, _ = soundfile.read(tmp_path / "record/input.wav")
    assert abs(len(captured) / report["sample_rate"] - seconds) < 1.5  # silence stands for what was lost


def test_a_song_plays_with_a_source_muted(separator_path, tmp_path):
    rate = 44100
    song = (0.3 * np.sin(2 * np.pi * 220 * np.arange(3 * rate) / rate)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", np.stack([song, song], axis=1), rate, "FLOAT")
    with pulse_server(tmp_path, rate, channels=2) as server:
        options = ["--input", "song.wav", "--output", "pulse", "--mute", "vocals", "--record", "record"]
        done = subprocess.run(
            command(separator_path, *options), env=server.env, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    played, out_rate = soundfile.read(tmp_path / "record" / "output.wav", dtype="float32")
    assert out_rate == rate and played.shape == (len(song), 2)
    report = json.loads(done.stdout)
    if report["late_frames"] == 0:  # vocals are 0.4 of the tiny separator's mix
        np.testing.assert_allclose(played[:, 0], 0.6 * song, atol=1e-4)


def test_bad_devices_are_one_line(enhancer_path, tmp_path):
    with pulse_server(tmp_path, RATE) as server:
        for options, word in (
            (["--input", "no such thing"], "no such sound device"),
            (["--latency", "1"], "fixed"),
            (["--mute", "tuba"], "no source"),
        ):
            done = subprocess.run(command(enhancer_path, *options), env=server.env, capture_output=True, text=True)
            assert done.returncode == 2, done.stderr
            assert done.stderr.count("edge-run: error:") == 1 and word in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("hogs", [0, 4])
def test_five_minutes_of_speech(enhancer_path, tmp_path, hogs):
    """EDGE_BUNDLE names a real enhancer; EDGE_LIVE_SECONDS another length."""
    bundle = Path(os.environ.get("EDGE_BUNDLE", enhancer_path))
    seconds = float(os.environ.get("EDGE_LIVE_SECONDS", "300"))
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(hogs)]
    try:
        with pulse_server(tmp_path, RATE) as server:
            report, heard = live(server, bundle, tmp_path, seconds)
    finally:
        for process in burning:
            process.kill()
            process.wait()
    print(json.dumps(report))
    if report["reconnects"] or report["lost_frames"]:
        pytest.skip("the sound server broke off, and the model lacks something: this machine is too busy for sound")
    played, equal = compare(bundle, report, tmp_path)
    print(f"{equal.mean():.5f} of {len(played)} frames equal the offline result")
    print(f"found and tried in what was heard: {found_in(heard, played)}")
    # nothing shifts: the last part that is not late is as aligned as the first
    tail = equal[-len(equal) // 4 :]
    assert tail.any() or report["late_share"] > 0.9
