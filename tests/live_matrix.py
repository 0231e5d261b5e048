"""Runs edge-run --live for minutes on a sound server of its own, for each block and buffer, and says what came of it.

    python tests/live_matrix.py BUNDLE --seconds 600 --block 5,10,20 --buffer 40,100,200

No two samples that the microphone hears are alike, so each frame of the recording is found again in what the server
gave: what was lost, whether the silence for it is as long, and whether anything slipped.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from pulse import Pulse, write_speech

RATE = 16_000
ALIKE = 16  # samples that must be equal, to be the same piece


def align(captured: np.ndarray, given: np.ndarray) -> list[tuple[int, int, int]]:
    """Pieces (start, end, shift) of `captured` with captured[i] == given[i + shift]; silence lies between them."""
    order = np.argsort(given, kind="stable")
    ordered, pieces, at = given[order], [], 0
    while at < len(captured) - ALIKE:
        if captured[at] == 0:
            silent = np.flatnonzero(captured[at:])
            at += int(silent[0]) if len(silent) else len(captured)
            continue
        first, last = np.searchsorted(ordered, captured[at], "left"), np.searchsorted(ordered, captured[at], "right")
        wanted = captured[at : at + ALIKE]
        found = [place for place in order[first:last] if np.array_equal(given[place : place + ALIKE], wanted)]
        if not found:
            at += 1
            continue
        shift = int(found[0]) - at
        count = min(len(captured) - at, len(given) - at - shift)
        differs = np.flatnonzero(captured[at : at + count] != given[at + shift : at + shift + count])
        end = at + (int(differs[0]) if len(differs) else count)
        pieces.append((int(at), int(end), shift))
        at = end
    return pieces


def judge(captured: np.ndarray, given: np.ndarray) -> dict:
    """Frames by what became of them."""
    pieces = align(captured, given)
    sound = sum(np.count_nonzero(captured[start:end]) for start, end, _ in pieces)
    losses, false, slips = 0, 0, []
    for (_, end, before), (start, _, after) in itertools.pairwise(pieces):
        lost = start - end + after - before
        losses += max(0, lost)
        false += int(start > end and lost <= 0)
        slips.append(after - pieces[0][2])
    return {
        "pieces": pieces,
        "lost": losses,
        "false_losses": false,
        "slip_most": max(map(abs, slips), default=0),
        "slip_end": slips[-1] if slips else 0,
        "unknown": int(np.count_nonzero(captured) - sound),
    }


@contextlib.contextmanager
def heard(server: Pulse, file: Path) -> Iterator[None]:
    """What the microphone hears, whole: this recorder may be as late as it likes."""
    form = ["--format=float32le", f"--rate={RATE}", "--channels=1", "--raw", "--latency-msec=2000"]
    with file.open("wb") as out:
        recorder = subprocess.Popen(["parec", "--device=mic.monitor", *form], env=server.env, stdout=out)
        try:
            yield
        finally:
            recorder.terminate()
            recorder.wait(10)


def run(bundle: Path, block: float, buffer: float | None, seconds: float, folder: Path) -> dict:
    """One run, judged."""
    spoken = folder / "spoken.wav"
    audio = 0.5 * write_speech(spoken, seconds + 60, RATE)
    audio += np.random.default_rng(0).uniform(-0.01, 0.01, len(audio)).astype(np.float32)
    soundfile.write(spoken, audio, RATE, "FLOAT")
    command = [sys.executable, "-m", "edge.cli.run", str(bundle), "--live", "--json", "--input", "pulse"]
    command += ["--output", "pulse", "--seconds", str(seconds), "--record", str(folder / "record")]
    command += ["--block", str(block)] + (["--buffer", str(buffer)] if buffer else [])
    server = Pulse(folder, RATE, 1)
    server.start()
    try:
        with heard(server, folder / "given.raw"):
            speaker = server.speak(spoken)
            done = subprocess.run(command, env=server.env, capture_output=True, text=True)
            speaker.kill()
            speaker.wait()
    finally:
        server.stop()
    if done.returncode:
        sys.exit(done.stderr)
    captured = soundfile.read(folder / "record" / "input.wav", dtype="float32")[0]
    report = json.loads(done.stdout) | {"messages": done.stderr.strip().splitlines()}
    return report | {"recorded": len(captured)} | judge(captured, server.read(folder / "given.raw")[:, 0])


COLUMNS = "block, ms | buffer, ms | late | xruns | jumps | new starts"
COLUMNS += " | told lost | lost | false | slip, most | at the end"


def row(block: float, buffer: float | None, report: dict) -> str:
    """A line of the table; frames as milliseconds."""
    told, lost, most, end = (1000 * report[name] / RATE for name in ("lost_frames", "lost", "slip_most", "slip_end"))
    cells = [f"{block:g}", f"{buffer:g}" if buffer else "", f"{100 * report['late_share']:.2f} %"]
    cells += [str(report["xruns"]), str(report["jumps"]), str(report["reconnects"])]
    cells += [f"{told:.1f}", f"{lost:.1f}", str(report["false_losses"]), f"{most:.2f}", f"{end:.2f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--block", default="5,10,20", help="milliseconds, several with commas")
    parser.add_argument("--buffer", default="40,100,200", help="the same; 0: edge-run's own")
    options = parser.parse_args()
    print(f"| {COLUMNS} |\n|" + " ---: |" * (COLUMNS.count("|") + 1), flush=True)
    for block in map(float, options.block.split(",")):
        for buffer in map(float, options.buffer.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                report = run(options.bundle, block, buffer or None, options.seconds, Path(folder))
            print(row(block, buffer or None, report), flush=True)
            print(json.dumps(report), file=sys.stderr)


if __name__ == "__main__":
    main()
