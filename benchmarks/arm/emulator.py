"""Runs scripts and programs on an emulated ARM64 core and reads the instruction counter's totals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import edge
from edge.errors import EdgeError, InputError

CORES = ("cortex-a53", "cortex-a76", "i8mm")
NO_HALF = ("cortex-a53",)  # cores without fp16 arithmetic
HOW_TO_MAKE = "make one with: bash ../shared/arm/setup_arm.sh DEST, then give --arm DEST/arm-python"
_GUEST_FAULTS = {4: "illegal instruction", 6: "abort", 11: "segmentation fault"}


@dataclass(frozen=True)
class Emulator:
    """`python`: a script `[--cpu CORE] [--count FILE] ARGS...` that runs Python on an emulated core."""

    python: Path

    def run(
        self,
        core: str,
        arguments: Sequence[str | Path],
        counts: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """stdout of the emulated `python ARGUMENTS`; the counter's lines go to `counts`.

        `edge` can be imported there; `environment` is added to this process's. Raises EdgeError where it fails.
        """
        count: list[str | Path] = ["--count", counts] if counts else []
        with self._alone(), tempfile.TemporaryDirectory(prefix="stem-edge-arm-") as folder:
            # A link and not our own path entry: beside an installed `edge` lie packages for another processor.
            os.symlink(Path(edge.__file__).resolve().parent, Path(folder) / "edge")
            command = [self.python, "--cpu", core, *count, *arguments]
            return _stdout(core, command, {"PYTHONPATH": folder} | dict(environment or {}))

    def program(
        self,
        core: str,
        command: Sequence[str | Path],
        counts: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """The same of a program for ARM64 Linux and its arguments."""
        home = self.python.parent
        cpu, name = ("max,sve=off,sme=off", "max") if core == "i8mm" else (core, core)
        plugin: list[str | Path] = ["-plugin", home / "libicount.so", "-d", "plugin", "-D", counts] if counts else []
        with self._alone():
            description = _stdout(core, [sys.executable, home / "cpuinfo.py", name, "1"], {})
            (home / "root" / "proc" / "cpuinfo").write_text(description)
            emulated = ["qemu-aarch64", "-cpu", cpu, *plugin, "-L", home / "root", *command]
            return _stdout(core, emulated, dict(environment or {}))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Each start writes the core's description to where a process that starts at the same time reads it."""
        with self.python.open() as script:
            fcntl.flock(script, fcntl.LOCK_EX)
            yield


def _stdout(core: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode == 0:
        return done.stdout
    code = done.returncode
    reason = _GUEST_FAULTS.get(abs(code) % 128) if code < 0 or code > 128 else f"exit code {code}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise EdgeError(f"emulated {core}: {reason or code}{': ' + lines[-1][:300] if lines else ''}")


def find_emulator(path: Path) -> Emulator:
    """The emulator at `path` (the script, or the folder that has `arm-python`).

    Raises InputError where it is not there or qemu is not installed.
    """
    script = path / "arm-python" if path.is_dir() else path
    if not script.is_file() or not os.access(script, os.X_OK):
        raise InputError(f"{path}: no emulated Python there; {HOW_TO_MAKE}")
    if shutil.which("qemu-aarch64") is None:
        raise InputError("qemu-aarch64 is not installed: apt-get install qemu-user (the static build cannot count)")
    return Emulator(script.resolve())


def read_marks(counts: Path) -> list[dict[str, int]]:
    """The running totals by the counter's class at each mark, in order; EdgeError where the counter wrote none."""
    try:
        lines = counts.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    marks = [_totals(line) for line in lines if line.startswith("mark ")]
    if not marks:
        raise EdgeError("the emulator counted nothing; its qemu must have plugins (Debian's qemu-user, not -static)")
    return marks


def _totals(line: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
