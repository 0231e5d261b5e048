"""What all commands share: one line for every failure, exit codes, progress bars on a terminal only."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
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


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress_bar(**options: Any) -> tqdm:
    """A bar on stderr that shows after two seconds, and only on a terminal."""
    return tqdm(disable=not sys.stderr.isatty(), delay=2, dynamic_ncols=True, leave=False, **options)


class PassBars:
    """A `progress(label, frames, total)` callback with one bar a pass; a context manager."""

    def __init__(self, sample_rate: int):
        self._rate = sample_rate
        self._bar: tqdm | None = None
        self._label = ""

    def __call__(self, label: str, frames: int, total: int) -> None:
        if label != self._label:
            self.close()
            self._label = label
            self._bar = progress_bar(desc=label, total=round(total / self._rate), unit="s", unit_scale=True)
        if self._bar is not None:
            self._bar.update(frames / self._rate)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> PassBars:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
