"""Bundles on disk: open one with every byte checked, write one so that it is whole or not there.

The format is docs/bundle.md; the manifest's dataclasses are in edge.manifest and re-exported here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from edge.bundles import find_bundle, shipped
from edge.errors import EdgeError, InputError
from edge.interface import Interface, TensorSpec
from edge.manifest import (
    FORMAT_VERSION,
    BeforeAfter,
    Compression,
    FileRecord,
    Golden,
    GoldenInput,
    GoldenOutput,
    GraphRecord,
    LayerRecord,
    Manifest,
    Quality,
    parse_manifest,
    referenced_files,
)

__all__ = [
    "FORMAT_VERSION",
    "BeforeAfter",
    "Bundle",
    "Compression",
    "FileRecord",
    "Golden",
    "GoldenInput",
    "GoldenOutput",
    "GraphRecord",
    "Interface",
    "LayerRecord",
    "Manifest",
    "Quality",
    "TensorSpec",
    "open_bundle",
    "snr_db",
    "write_bundle",
]

MAX_MANIFEST_BYTES = 64 << 20
MAX_SNR_DB = 200.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: `folder` holds its checked files (a private copy where the bundle is a zip)."""

    path: Path
    folder: Path
    manifest: Manifest
    # Kept only so that the private copy lives as long as the bundle: its finalizer removes the files.
    private: tempfile.TemporaryDirectory | None = field(default=None, repr=False, compare=False)

    def graph_path(self, format: str) -> Path:
        """The graph file of `format` ("onnx" or "executorch"); InputError where the bundle has none."""
        graphs = self.manifest.graphs
        if format not in graphs:
            have = ", ".join(graphs)
            raise InputError(f"{self.path}: the bundle has no {format} graph (it has {have})")
        return self.folder / graphs[format].file

    def read_f32(self, file: str, shape: Sequence[int]) -> np.ndarray:
        """A raw little-endian float32 file of the bundle as an array of `shape`."""
        return np.fromfile(self.folder / file, dtype="<f4").reshape(shape).astype(np.float32)


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder, a `NAME.edge` zip or a shipped bundle by its name (see edge.bundles).

    Every listed file is checked (size, SHA-256) before use.
    Unknown manifest keys warn on stderr. Raises InputError, one line, where it is no bundle, malformed, of a
    future format, incomplete or damaged.
    """
    path = find_bundle(path)
    if path.is_dir():
        manifest = _read_manifest(path, path / "manifest.json")
        for name, record in manifest.files.items():
            file = path / name
            if not file.is_file():
                raise InputError(f"{path}: {name} is missing from the bundle; export or copy it again")
            with _reading(path, name), file.open("rb") as stream:
                _check_file(path, name, record, stream)
        return Bundle(path, path, manifest)
    if not path.exists():
        raise InputError(f"{path}: no such bundle; by name there are {', '.join(shipped()) or 'none'}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a bundle (neither a folder with manifest.json nor a .edge file)")
    return _open_zip(path)


def write_bundle(directory: str | Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Path:
    """Write a bundle folder (a zip where `directory` ends in .edge) and return its path.

    `files` maps paths inside the bundle to contents or to files to copy; the manifest's `files` and each
    graph's `bytes` are computed here. All is written under a temporary sibling and renamed: an existing
    bundle there is replaced only then, and a failure leaves nothing behind. Raises InputError where the place
    holds something else than a bundle or `files` lacks what the manifest uses, EdgeError where writing fails.
    """
    target = Path(directory)
    missing = [name for name in referenced_files(manifest) if name not in files]
    if missing:
        raise InputError(f"{target}: the manifest uses {missing[0]}, which is not among the files to write")
    as_zip = target.suffix == ".edge"
    _check_replaceable(target, as_zip)
    scratch = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        records = {name: _write_file(scratch / name, content) for name, content in files.items()}
        graphs = {
            format: dataclasses.replace(graph, bytes=records[graph.file].bytes)
            for format, graph in manifest.graphs.items()
        }
        whole = dataclasses.replace(manifest, files=records, graphs=graphs, format_version=FORMAT_VERSION)
        _write_file(scratch / "manifest.json", whole.to_json().encode())
        if as_zip:
            packed = scratch / "bundle.zip"
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for name in ["manifest.json", *records]:
                    archive.write(scratch / name, name)
            os.replace(packed, target)
        else:
            _replace_folder(scratch, target)
    except OSError as error:
        raise EdgeError(f"cannot write the bundle {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def snr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """10 log10(|reference|^2 / |reference - estimate|^2) over all values, at most 200; NaN if one is NaN."""
    reference, estimate = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    signal, error = float(np.sum(reference**2)), float(np.sum((reference - estimate) ** 2))
    if error == 0:
        return MAX_SNR_DB
    if not np.isfinite(error):
        return float("nan")  # min() below would hide it
    return min(MAX_SNR_DB, 10 * float(np.log10(max(signal, 1e-30) / error)))


def _read_manifest(bundle: Path, file: Path) -> Manifest:
    if not file.is_file():
        raise InputError(f"{bundle}: not a bundle (no manifest.json in it)")
    if file.stat().st_size > MAX_MANIFEST_BYTES:
        raise InputError(f"{bundle}: malformed manifest.json: it is larger than 64 MB")
    with _reading(bundle, "manifest.json"):
        content = file.read_bytes()
    return _parse(bundle, content)


def _parse(bundle: Path, content: bytes) -> Manifest:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{bundle}: malformed manifest.json: it is not UTF-8 text") from error
    manifest, unknown = parse_manifest(text, str(bundle))
    if not manifest.files:
        raise InputError(f"{bundle}: malformed manifest.json: files is empty")
    if unknown or manifest.format_version != FORMAT_VERSION:
        keys = f", unknown keys ignored: {', '.join(unknown)}" if unknown else ""
        versions = f"format version {manifest.format_version} (this stem-edge knows {FORMAT_VERSION})"
        print(f"warning: {bundle}: {versions}{keys}", file=sys.stderr)
    return manifest


def _check_file(bundle: Path, name: str, record: FileRecord, stream: IO[bytes], copy: IO[bytes] | None = None) -> None:
    """Compare size and SHA-256, reading no more than one block beyond the declared size; copy on the way."""
    digest, size = hashlib.sha256(), 0
    while size <= record.bytes and (block := stream.read(_BLOCK)):
        digest.update(block)
        size += len(block)
        if copy is not None:
            copy.write(block)
    if size != record.bytes:
        raise InputError(f"{bundle}: {name} has not the {record.bytes} bytes that the manifest lists; copy it again")
    if digest.hexdigest() != record.sha256:
        raise InputError(f"{bundle}: {name} is damaged (its SHA-256 differs from the manifest); copy it again")


def _open_zip(path: Path) -> Bundle:
    private = tempfile.TemporaryDirectory(prefix="stem-edge-")
    folder = Path(private.name)
    with _reading(path, "the archive"), zipfile.ZipFile(path) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        if "manifest.json" not in infos:
            raise InputError(f"{path}: not a bundle (no manifest.json in it)")
        with archive.open("manifest.json") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(content) > MAX_MANIFEST_BYTES:
            raise InputError(f"{path}: malformed manifest.json: it is larger than 64 MB")
        manifest = _parse(path, content)
        for name, record in manifest.files.items():  # only listed, checked paths are ever extracted
            if name not in infos:
                raise InputError(f"{path}: {name} is missing from the bundle; export or copy it again")
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as stream, file.open("wb") as copy:
                _check_file(path, name, record, stream, copy)
    return Bundle(path, folder, manifest, private)


@contextlib.contextmanager
def _reading(bundle: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (EdgeError, MemoryError):
        raise
    except OSError as error:
        raise EdgeError(f"{bundle}: cannot read {what}: {error.strerror or error}") from error
    except Exception as error:  # foreign bytes fail in as many ways as zipfile and its decompressors have lines
        raise InputError(f"{bundle}: {what} is damaged ({error}); copy it again") from error


def _write_file(file: Path, content: bytes | Path) -> FileRecord:
    file.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(file.open("xb"))
        if isinstance(content, bytes):
            blocks = iter([content])
        else:
            source = stack.enter_context(Path(content).open("rb"))
            blocks = iter(lambda: source.read(_BLOCK), b"")
        for block in blocks:
            digest.update(block)
            size += out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return FileRecord(size, digest.hexdigest())


def _check_replaceable(target: Path, as_zip: bool) -> None:
    if not os.path.lexists(target):
        return
    if as_zip and (target.is_dir() or (target.stat().st_size and not zipfile.is_zipfile(target))):
        raise InputError(f"{target} exists and is not a bundle file; choose another place")
    if not as_zip:
        if not target.is_dir():
            raise InputError(f"{target} exists and is not a folder; choose another place")
        if any(target.iterdir()) and not (target / "manifest.json").is_file():
            raise InputError(f"{target} exists and is not a bundle; choose another place")


def _replace_folder(scratch: Path, target: Path) -> None:
    """Rename `scratch` to `target`; what was there before is moved aside first and back on failure."""
    if not target.exists():
        os.rename(scratch, target)
        return
    old = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.old"
    os.rename(target, old)
    try:
        os.rename(scratch, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
