"""Runs the native library's own test programs on tiny bundles: native_programs.py BUILD_FOLDER."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from conftest import make_bundle

from edge.native.library import onnxruntime_library


def main(build: Path) -> int:
    """The programs that were built there, on an enhancer and a separator; the number of those that failed."""
    runtime = os.environ.get("STEMEDGE_ONNXRUNTIME") or str(onnxruntime_library())
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for task in ("enhance", "separate"):
            bundle = make_bundle(Path(folder) / task, task, segment=26460)
            for name in ("hostile", "realtime"):
                if not (build / name).is_file():  # realtime counts what the sanitizers' allocators do not show
                    continue
                print(f"{name} {task}", flush=True)
                command = [build / name, bundle]
                failed += subprocess.run(command, env=os.environ | {"STEMEDGE_ONNXRUNTIME": runtime}).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
