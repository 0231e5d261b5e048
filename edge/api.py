"""Files in one call, for programs that want no more than that; sessions are in edge.runtime.session."""

from __future__ import annotations

from pathlib import Path

from edge.bundle import open_bundle
from edge.errors import InputError
from edge.runtime.files import FileReport, run_file
from edge.runtime.graphs import default_backend


def enhance_file(
    bundle: str | Path, source: str | Path, target: str | Path, backend: str | None = None, threads: int = 1
) -> FileReport:
    """Enhance the recording `source` into the audio file `target`, at the same rate and length.

    bundle: an enhancer's folder or NAME.edge. backend: "onnx" or "executorch", None for the bundle's first. Raises
    InputError for what cannot be read or is a separator, EdgeError where inference or writing fails; nothing is left
    behind then.
    """
    return _run(bundle, source, target, backend, threads, "enhance")


def separate_file(
    bundle: str | Path, source: str | Path, folder: str | Path, backend: str | None = None, threads: int = 1
) -> FileReport:
    """Separate the song `source` into one file a source in `folder`; as `enhance_file` otherwise."""
    return _run(bundle, source, folder, backend, threads, "separate")


def _run(
    bundle: str | Path, source: str | Path, target: str | Path, backend: str | None, threads: int, task: str
) -> FileReport:
    opened = open_bundle(bundle)
    if opened.manifest.task != task:
        raise InputError(f"{opened.path}: {opened.manifest.name} is for {opened.manifest.task}, not {task}")
    return run_file(opened, Path(source), Path(target), backend or default_backend(opened), threads)
