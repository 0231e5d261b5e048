"""Fuzz one target: python tests/fuzz/run.py TARGET [libFuzzer options]."""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from targets import TARGETS  # noqa: E402  (its folder is no package)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: run.py {'|'.join(TARGETS)} [libFuzzer options]")
    target = TARGETS[sys.argv.pop(1)]
    with atheris.instrument_imports(include=list(target.modules)):
        for module in target.modules:
            __import__(module)
        target.run(b"")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
