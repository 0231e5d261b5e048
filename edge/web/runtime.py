"""ONNX Runtime for browsers: two files of the npm package onnxruntime-web, found or fetched, checked, and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from edge.errors import EdgeError, InputError

VERSION = "1.30.0"
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
PACKAGE = f"onnxruntime-web@{VERSION}"


def kept_runtime() -> Path:
    """Where a fetched runtime is kept: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "stem-edge" / f"onnxruntime-web-{VERSION}"


def find_runtime(folder: Path | None = None) -> Path | None:
    """The folder with the runtime's files: `folder`, else one that was fetched before, or None.

    Raises InputError where `folder` does not hold them, in the version that this package was tested with.
    """
    if folder is None:
        kept = kept_runtime()
        return kept if not _wrong(kept) else None
    for place in (folder, folder / "dist", folder / "node_modules" / "onnxruntime-web" / "dist"):
        if (place / MODULE).is_file():
            if wrong := _wrong(place):
                raise InputError(f"{place / wrong}: not that of {PACKAGE}, which is needed: npm install {PACKAGE}")
            return place
    raise InputError(f"{folder}: {MODULE} is not in it: npm install {PACKAGE} gives it, in node_modules")


def fetch_runtime() -> Path:
    """The kept runtime, fetched with npm where there is none. Raises EdgeError where that does not work."""
    kept = kept_runtime()
    if not _wrong(kept):
        return kept
    npm = shutil.which("npm")
    if npm is None:
        raise EdgeError(
            f"npm, which fetches {PACKAGE}, is not installed; install it, or give the files by --runtime DIR"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        command = [npm, "pack", PACKAGE, "--pack-destination", scratch]
        result = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        packed = next(Path(scratch).glob("*.tgz"), None)
        if result.returncode or packed is None:
            reason = (result.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise EdgeError(f"npm cannot fetch {PACKAGE}: {reason}; give the files by --runtime DIR")
        files = Path(scratch) / "files"
        files.mkdir()
        with tarfile.open(packed) as archive:
            for name in SHA256:
                stream = archive.extractfile(f"package/dist/{name}")
                assert stream is not None
                (files / name).write_bytes(stream.read())
        if wrong := _wrong(files):
            raise EdgeError(f"{PACKAGE}: {wrong} is not the file that is expected; nothing was kept")
        if kept.exists():
            shutil.rmtree(kept)
        os.replace(files, kept)
    return kept


def _wrong(folder: Path) -> str | None:
    """The first file that is missing or another one."""
    for name, expected in SHA256.items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            return name
    return None
