"""Runs the browser's modules in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.web.runtime import MODULE, fetch_runtime

NODE = shutil.which("node")


def runtime_folder() -> Path:
    """ONNX Runtime for browsers; skips the test where npm cannot fetch it."""
    try:
        return fetch_runtime()
    except EdgeError as error:
        pytest.skip(str(error))


class Jobs:
    """Jobs of one Node process (tests/web/web_jobs.mjs), whose start costs seconds."""

    def __init__(self, folder: Path):
        if NODE is None:
            pytest.skip("needs node")
        self._folder, self._jobs, self._files = folder, [], 0  # type: Path, list[dict[str, Any]], int
        self._runtime = (runtime_folder() / MODULE).as_uri()

    def file(self) -> str:
        self._files += 1
        return str(self._folder / f"{self._files}.f32")

    def put(self, samples: np.ndarray) -> str:
        name = self.file()
        samples.astype("<f4").tofile(name)
        return name

    def add(self, kind: str, **job: Any) -> None:
        self._jobs.append({"kind": kind} | job)

    def run(self) -> list[dict[str, Any]]:
        file = self._folder / "jobs.json"
        file.write_text(json.dumps({"runtime": self._runtime, "jobs": self._jobs}))
        script = Path(__file__).with_name("web_jobs.mjs")
        assert NODE is not None
        result = subprocess.run([NODE, script, file], capture_output=True, text=True, timeout=1500)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)
