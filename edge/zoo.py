"""The models by name: where each one's weights come from."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from edge.checkpoints import OFFICIAL_LICENSE, load_any
from edge.errors import EdgeError, InputError
from edge.models.architectures import architecture_of
from edge.models.bag import Bag

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("enhancer", "htdemucs-mini")


@dataclass(frozen=True)
class Model:
    """A trained network by name, with what its weights are made of and allow."""

    name: str
    network: nn.Module
    weights_license: str
    training_data: str
    shipped: bool = False

    @property
    def task(self) -> str:
        return architecture_of(self.network).task


# name: kind of network, number of checkpoint files, number of sources (0: any)
_KNOWN = {
    "enhancer": ("enhancer", 1, 0),
    "htdemucs-mini": ("htdemucs", 1, 0),
    "htdemucs": ("htdemucs", 1, 4),
    "htdemucs_ft": ("htdemucs", 4, 4),
    "htdemucs_6s": ("htdemucs", 1, 6),
}
NAMES = tuple(_KNOWN)


def load_model(name: str, checkpoints: Sequence[Path] = ()) -> Model:
    """Load a model in eval mode: from `checkpoints`, else the shipped weights, else the official ones.

    Official weights are fetched with the `demucs` package's list of files and their hashes; htdemucs_ft is four
    files, in the order of its sources. Raises InputError for an unknown name or an unfit checkpoint.
    """
    if name not in _KNOWN:
        raise InputError(f"unknown model {name!r}; known: {', '.join(NAMES)}")
    kind, count, sources = _KNOWN[name]
    shipped = not checkpoints and name in SHIPPED
    if not checkpoints:
        checkpoints = [WEIGHTS / f"{name}.safetensors"] if name in SHIPPED else official_files(name)
    if len(checkpoints) != count:
        raise InputError(f"{name} is made of {count} checkpoint(s), {len(checkpoints)} given")
    loaded = [load_any(path, kind) for path in checkpoints]
    for path, (network, _) in zip(checkpoints, loaded, strict=True):
        found = len(network.config.sources) if kind == "htdemucs" else 0
        if sources and found != sources:
            raise InputError(f"{path}: a checkpoint of another model ({found} sources); {name} has {sources}")
    metadata = loaded[0][1]
    license_default = OFFICIAL_LICENSE if name.startswith("htdemucs") else "as given by the provider"
    return Model(
        name,
        loaded[0][0] if count == 1 else Bag([network for network, _ in loaded]),  # type: ignore[misc]
        metadata.get("weights_license", license_default),
        metadata.get("training_data", "not stated by the checkpoint"),
        shipped,
    )


def recovered_weights(model: Model, ratio: float) -> Path | None:
    """The shipped checkpoint of a shipped model pruned by `ratio` and trained on, where there is one."""
    path = WEIGHTS / f"{model.name}-p{round(100 * ratio):02d}.safetensors"
    exact = abs(100 * ratio - round(100 * ratio)) < 1e-9
    return path if model.shipped and exact and path.is_file() else None


def official_files(name: str) -> list[Path]:
    """The official checkpoint files of `name`, downloaded once to torch's hub folder and checked by hash."""
    if importlib.util.find_spec("demucs") is None:
        raise InputError(
            f'{name} has no shipped weights: give --checkpoint FILE, or pip install "stem-edge[demucs]" to fetch them'
        )
    import yaml
    from demucs.pretrained import REMOTE_ROOT, _parse_remote_files

    signatures = yaml.safe_load((REMOTE_ROOT / f"{name}.yaml").read_text())["models"]
    urls = _parse_remote_files(REMOTE_ROOT / "files.txt")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    paths = []
    for signature in signatures:
        url = urls[signature]
        path = folder / url.rsplit("/", 1)[1]
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[1])
            except (OSError, RuntimeError) as error:
                raise EdgeError(f"cannot fetch the official {name} ({error}); give --checkpoint FILE") from error
        paths.append(path)
    return paths
