"""edge-bench as one file for a device: python -m edge.benchmarks.zipapp -o edge-bench.pyz

There, `python edge-bench.pyz BUNDLE` needs Python 3.11 or newer, NumPy and ONNX Runtime, nothing else; ExecuTorch
graphs are measured where its runtime is installed too. The progress bar comes along: tqdm, with its licence.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import edge
import edge.benchmarks
from edge.atomic import atomic_path
from edge.console import run_command

_EDGE = ("*.py", "cli/__init__.py", "cli/bench.py", "backends/*.py", "bundles/__init__.py", "runtime/*.py")
_BENCHMARKS = (
    "__init__ compare documents floor machine memory memory_profile page plots profiling report report_text rounds "
    "runner stats tables verdict worker"
).split()
_MAIN = """\
import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported
if sys.version_info < (3, 11):
    sys.exit("edge-bench: error: Python 3.11 or newer is needed")
missing = []
for name in ("numpy", "onnxruntime"):
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
if missing:
    sys.exit(f"edge-bench: error: install what is missing: pip install {' '.join(missing)}")

from edge.cli.bench import main

if __name__ == "__main__":
    sys.exit(main())
"""
_EPOCH = (2000, 1, 1, 0, 0, 0)  # the same sources give the same bytes


def contents() -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file in the archive."""
    yield "__main__.py", _MAIN.encode()
    package, benchmarks = Path(edge.__file__).parent, Path(edge.benchmarks.__file__).parent
    for pattern in _EDGE:
        for file in sorted(package.glob(pattern)):
            yield f"edge/{file.relative_to(package).as_posix()}", file.read_bytes()
    for name in [*(f"{module}.py" for module in _BENCHMARKS), "probes.zip", "report.schema.json"]:
        yield f"edge/benchmarks/{name}", (benchmarks / name).read_bytes()
    for path in importlib.metadata.files("tqdm") or ():
        name = path.as_posix()
        if name.startswith("tqdm/") and name.endswith(".py") and name.count("/") == 1:
            yield name, path.read_binary()
        elif "licenses" in name:
            yield f"tqdm/{path.name}", path.read_binary()


def write_zipapp(target: Path) -> None:
    """Write the archive to `target`; with a first line that lets it be called by itself."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in contents():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"#!/usr/bin/env python3\n" + buffer.getvalue())
        temporary.chmod(0o755)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser("python -m edge.benchmarks.zipapp", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("edge-bench.pyz"), help="default: edge-bench.pyz")
    args = parser.parse_args(argv)

    def body() -> None:
        write_zipapp(args.output)
        print(args.output)

    return run_command("zipapp", body)


if __name__ == "__main__":
    sys.exit(main())
