"""What all commands share: one line for every failure, exit codes, progress bars on a terminal only."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

from edge import __version__
from edge.errors import EdgeError, InputError

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def run_command(name: str, body: Callable[[], int | None]) -> int:
    """Run `body` and return the exit code: its own, or that of what it raised, told in one line on stderr.

    0 success, 1 failure, 2 bad use or input, 130 interrupted. With EDGE_TRACEBACK=1 unexpected errors are raised.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that the terminal cannot show, or that are no text
            stream.reconfigure(errors="backslashreplace")
    previous = signal.signal(signal.SIGTERM, _terminate)  # so that temporary files go away
    try:
        code = body()
        sys.stdout.flush()  # a closed pipe shows here, not at exit
        return code or 0
    except EdgeError as error:
        return fail(name, error, error.exit_code)
    except KeyboardInterrupt:
        return fail(name, "interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # nothing is left to flush into the closed pipe
        return EXIT_FAILURE
    except MemoryError:
        return fail(name, "out of memory; close other programs or use a smaller model", EXIT_FAILURE)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        hint = "; free some space and run again" if error.errno == errno.ENOSPC else ""
        return fail(name, f"{place}{error.strerror or error}{hint}", EXIT_FAILURE)
    except Exception as error:
        if os.environ.get("EDGE_TRACEBACK") == "1":
            raise
        reason = f"{type(error).__name__}: {error}"
        return fail(name, f"unexpected {reason} (EDGE_TRACEBACK=1 shows where)", EXIT_FAILURE)
    finally:
        signal.signal(signal.SIGTERM, previous)


def fail(name: str, error: object, code: int) -> int:
    """Print `NAME: error: ...` as one line on stderr and return `code`."""
    print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def enter_workbench(name: str) -> None:
    """Before anything that needs torch: InputError where it is not installed; silences the exporters' own chatter."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise InputError(f'{name} needs the workbench: pip install "stem-edge[export]"') from error
    logging.disable(logging.WARNING)  # failures are raised


def make_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser with --version and examples under --help."""
    parser = argparse.ArgumentParser(
        name,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def positive_int(text: str) -> int:
    """An argparse type."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def positive_float(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a positive number")
    return value


def non_negative_float(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def whole_number(text: str) -> int:
    """An argparse type."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def processors() -> int:
    """How many this process may use: those of its affinity, within its container's quota (cgroup v1 and v2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if math.isinf(quota) else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float:
    """Processors' worth of time that cgroups grant, of this group and those around it; infinity without a limit."""
    quotas = [float("inf")]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quotas[0]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / controllers if controllers else root / "sys/fs/cgroup"
        group = Path(path.lstrip("/"))
        for place in (group, *group.parents):  # in a container the group's own path may not be there
            quotas.append(_quota_of(base / place, bool(controllers)))
    return min(quotas)


def _quota_of(folder: Path, first_version: bool) -> float:
    try:
        if first_version:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        else:
            quota, period = (folder / "cpu.max").read_text().split()
        return float("inf") if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return float("inf")


def fitting_threads(name: str, asked: int) -> int:
    """`asked`, or all processors where there are fewer: more threads than processors only wait for each other."""
    there = processors()
    if asked <= there:
        return asked
    print(f"{name}: note: {there} thread(s) in place of {asked}: there are {there} processor(s)", file=sys.stderr)
    return there


def progress_bar(**options: Any) -> tqdm:
    """A bar on stderr that shows after two seconds, and only on a terminal."""
    return tqdm(disable=not sys.stderr.isatty(), delay=2, dynamic_ncols=True, leave=False, **options)


class PassBars:
    """A `progress(label, seconds, total)` callback with one bar a pass, in minutes of audio; a context manager.

    `place`: what stands before the label, "file 3 of 12, ".
    """

    def __init__(self, place: str = ""):
        self._place = place
        self._bar: tqdm | None = None
        self._label = ""

    def __call__(self, label: str, seconds: float, total: float) -> None:
        if label != self._label:
            self.close()
            self._label = label
            told = "{percentage:3.0f} % |{bar}| {n:.1f} of {total:.1f} min, {remaining} left"
            told = told if total else "{n:.1f} min"
            desc, minutes = f"{self._place}{label}", total / 60 or None
            self._bar = progress_bar(desc=desc, total=minutes, bar_format="{desc}: " + told)
        if self._bar is not None:
            self._bar.update(seconds / 60)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> PassBars:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
