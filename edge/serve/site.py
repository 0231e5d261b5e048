"""The files of the web page: its own, the browser's modules, a runtime and bundles; served, or written for any host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from edge.bundle import Bundle
from edge.errors import EdgeError, InputError
from edge.outputs import output_folder
from edge.web.runtime import MODULE, SHA256, VERSION

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".wasm": "application/wasm",
}
OTHER_TYPE = "application/octet-stream"
IN_BROWSERS = "onnx"  # the backend whose graphs they run
RUNTIME = f"runtime/{VERSION}"
_PAGE = (".html", ".js", ".css")

# Nothing but what the page's own host gives, no inline script or style.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)


def site_files(bundles: Sequence[Bundle], runtime: Path | None, server: bool) -> dict[str, bytes | Path]:
    """Path below the site's root -> its content or the file that holds it.

    Without `runtime` the page cannot compute, and gets no bundles. `server`: whether edge-serve is behind the page.
    Raises InputError for two bundles of one task, or one without an ONNX graph.
    """
    files: dict[str, bytes | Path] = {}
    for package, prefix in (("edge.serve", ""), ("edge.web", "web/")):
        for file in resources.files(package).iterdir():
            if file.name.endswith(_PAGE):
                files[prefix + file.name] = file.read_bytes()
    models: list[dict[str, str]] = []
    for bundle in bundles:
        manifest = bundle.manifest
        if any(model["task"] == manifest.task for model in models):
            raise InputError(f"{bundle.path}: a page holds one bundle that can {manifest.task}, and has one already")
        models.append({"task": manifest.task, "name": manifest.name, "url": f"bundles/{manifest.name}"})
        if runtime is not None:
            files |= _bundle_files(bundle)
    if runtime is not None:
        files |= {f"{RUNTIME}/{name}": runtime / name for name in SHA256}
    module = f"{RUNTIME}/{MODULE}" if runtime is not None else None
    files["models.json"] = json.dumps({"runtime": module, "models": models, "server": server}).encode()
    return files


def write_site(folder: Path, bundles: Sequence[Bundle], runtime: Path) -> int:
    """Write the site into `folder`, which gets its name when all is there; returns its size in bytes.

    Raises InputError where `folder` holds something else, EdgeError where writing fails.
    """
    files = site_files(bundles, runtime, server=False)
    page = files["index.html"]
    assert isinstance(page, bytes)
    meta = f'<meta charset="utf-8">\n  <meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    files["index.html"] = page.replace(b'<meta charset="utf-8">', meta.encode())
    with _replaced(folder), output_folder(folder) as place:
        for name, content in files.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                shutil.copyfile(content, file)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[None]:
    """An earlier site in `folder` makes room within the block, and comes back where that fails."""
    if not folder.exists():
        yield
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "models.json").is_file()):
        raise InputError(f"{folder} exists and is no page of edge-serve; choose another folder")
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    try:
        os.rename(folder, old)
    except OSError as error:
        raise EdgeError(f"cannot replace {folder}: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _bundle_files(bundle: Bundle) -> dict[str, bytes | Path]:
    """What a browser reads of it: other graphs stay away."""
    manifest = bundle.manifest
    bundle.graph_path(IN_BROWSERS)  # an InputError where there is none
    others = {record.file for format, record in manifest.graphs.items() if format != IN_BROWSERS}
    others |= {output.file for format, output in manifest.golden.outputs.items() if format != IN_BROWSERS}
    names = ["manifest.json", *(name for name in manifest.files if name not in others)]
    return {f"bundles/{manifest.name}/{name}": _content(bundle, name) for name in names}


def _content(bundle: Bundle, name: str) -> bytes | Path:
    file = bundle.folder / name
    # the manifest of a zip is not among its extracted files
    return file if file.is_file() else bundle.manifest.to_json().encode()
