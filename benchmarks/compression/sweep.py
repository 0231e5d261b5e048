"""The bundles of a sweep, ratio by precision: each is exported once, and again only when what it is made of changes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import edge
import edge.backends
import edge.compression
import edge.export
import edge.models
import edge.runtime
from edge import __version__, samples
from edge.atomic import atomic_path
from edge.bundle import Bundle, open_bundle
from edge.compression.precisions import is_tuned
from edge.errors import EdgeError
from edge.export.pipeline import ExportOptions, Progress, export_network, tool_versions
from edge.zoo import Model, recovered_weights


@dataclass(frozen=True)
class Exported:
    """A bundle of the sweep and what was asked for."""

    options: ExportOptions
    bundle: Bundle


@dataclass(frozen=True)
class Failure:
    """What could not be exported or measured, in one line."""

    what: str
    error: str


def grid(
    base: ExportOptions, ratios: Sequence[float], precisions: Sequence[str], cpus: Sequence[str] = ("arm64",)
) -> list[ExportOptions]:
    """The options of every bundle of the sweep, unpruned fp32 first where it is among them: the rest is compared to it.

    cpus: what int8 is chosen for, a bundle each; fp32 is the same for all. The other fields are those of `base`; where
    nothing is pruned nothing is left to recover from.
    """
    kinds = dict.fromkeys((p, cpu if is_tuned(p) else cpus[0]) for p in precisions for cpu in cpus)
    wanted = [(ratio, precision, cpu) for ratio in sorted(set(ratios)) for precision, cpu in kinds]
    wanted.sort(key=lambda each: each[:2] != (0.0, "fp32"))
    return [
        dataclasses.replace(base, prune=r, precision=p, cpu=cpu, recover=base.recover if r else None)
        for r, p, cpu in wanted
    ]


def bundle_name(name: str, options: ExportOptions) -> str:
    """Folder of a bundle in a sweep, such as "enhancer-p50-int8-arm64" and "enhancer-p00-fp32"."""
    kind = f"{options.precision}-{options.cpu}" if is_tuned(options.precision) else options.precision
    return f"{name}-p{round(1000 * options.prune) / 10:02g}-{kind}"


def export_once(model: Model, options: ExportOptions, folder: Path, progress: Progress = lambda _: None) -> Bundle:
    """The bundle of `options` in `folder`: as it lies there where weights, options, code and tools are the same.

    What it was made of is noted beside it, after it is whole. Raises EdgeError where the export fails.
    """
    path = folder / bundle_name(model.name, options)
    note, made_of = folder / f"{path.name}.made-of", _made_of(model, options)
    if note.is_file() and note.read_text() == made_of:
        try:
            return open_bundle(path)
        except EdgeError as error:  # damaged or removed since
            progress(f"{error}: export again")
    note.unlink(missing_ok=True)
    export_network(model, options, path, progress)
    with atomic_path(note) as temporary:
        temporary.write_text(made_of)
    return open_bundle(path)


def export_all(
    model: Model, wanted: Sequence[ExportOptions], folder: Path, progress: Progress = lambda _: None
) -> tuple[list[Exported], list[Failure]]:
    """The bundles that could be exported, in order, and a line for each that could not."""
    bundles, failures = [], []
    for options in wanted:
        try:
            bundles.append(Exported(options, export_once(model, options, folder, progress)))
        except EdgeError as error:
            failures.append(Failure(bundle_name(model.name, options), str(error)))
    return bundles, failures


def weights_digest(model: Model) -> str:
    """SHA-256 of the network's configuration and tensors."""
    digest = hashlib.sha256(repr(model.network.config).encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _made_of(model: Model, options: ExportOptions) -> str:
    recovered = recovered_weights(model, options.prune)
    parts = [weights_digest(model), repr(options), repr(sorted(tool_versions().items())), __version__, _code()]
    if recovered is not None:
        parts.append(hashlib.sha256(recovered.read_bytes()).hexdigest())
    return "\n".join(parts) + "\n"


def _code() -> str:
    digest = hashlib.sha256()
    for file in code_files():
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def code_files() -> list[Path]:
    """The code that makes a bundle and measures it, and the recordings that it does so with."""
    packages = edge.models, edge.runtime, edge.backends, edge.compression, edge.export
    files = sorted(Path(edge.__path__[0]).glob("*.py"))
    files += [file for package in packages for file in sorted(Path(package.__path__[0]).rglob("*.py"))]
    return files + sorted(file for file in samples.FOLDER.rglob("*.*") if "__pycache__" not in file.parts)
