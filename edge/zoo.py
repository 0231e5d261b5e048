"""The models by name: where each one's weights come from."""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge.checkpoints import OFFICIAL_LICENSE, Stated, load_any
from edge.checkpoints.demucs_bag import check_alike, is_bag_file, read_bag, shortened
from edge.checkpoints.reader import official_signature
from edge.errors import EdgeError, InputError
from edge.models.architectures import architecture_of
from edge.models.bag import Bag, Weights, member_weights

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("enhancer", "htdemucs-mini")


@dataclass(frozen=True)
class Model:
    """A trained network by name, with what its weights are made of and allow.

    origin: for each checkpoint of the user's where its settings come from (see `checkpoints.settings.Origin`).
    """

    name: str
    network: nn.Module
    weights_license: str
    training_data: str
    shipped: bool = False
    origin: tuple[dict[str, Any], ...] = ()

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
# The released fine-tuned networks in the order of their sources: drums, bass, other, vocals.
_FINE_TUNED = ("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d")


def load_model(name: str, checkpoints: Sequence[Path] = (), stated: Stated | None = None) -> Model:
    """Load a model in eval mode: from `checkpoints`, else the shipped weights, else the official ones.

    checkpoints: of a known model as many as it is made of; of one with a name of its own one file, or a bag's YAML as
    demucs has it, and where they do not lie beside it its members. Official weights are fetched with the `demucs`
    package's list of files and their hashes. Raises InputError for an unknown name or an unfit checkpoint.
    """
    check_name(name)
    known = _KNOWN.get(name)
    if not checkpoints:
        if known is None:
            own = "a network of your own needs --checkpoint FILE"
            raise InputError(f"unknown model {name!r}; known: {', '.join(NAMES)} ({own})")
        if stated is not None and stated != Stated():
            raise InputError("what is said about a checkpoint (settings, licence) needs --checkpoint FILE")
        shipped = name in SHIPPED
        paths = [WEIGHTS / f"{name}.safetensors"] if shipped else official_files(name)
        return _load(name, paths, _one_each(len(paths)), None, stated, shipped=shipped)
    bags = [path for path in checkpoints if is_bag_file(path)]
    if bags:
        bag = read_bag(bags[0], [path for path in checkpoints if path not in bags])
        return _load(name, bag.files, bag.weights, bag.segment, stated)
    if len(checkpoints) != (known[1] if known else 1):
        if known is None:
            raise InputError("several checkpoints make a bag: give demucs' YAML of it too (--checkpoint BAG.yaml)")
        raise InputError(f"{name} is made of {known[1]} checkpoint(s), {len(checkpoints)} given")
    if len(checkpoints) > 1:
        return _load(name, _in_order(checkpoints), _one_each(len(checkpoints)), None, stated)
    return _load(name, checkpoints, None, None, stated)


def check_name(name: str) -> None:
    """Raises InputError where `name` can be no folder's name on every system."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InputError(f"a model's name is letters, digits, '.', '-' and '_', not {name!r}")


def _one_each(count: int) -> list[list[float]] | None:
    return None if count == 1 else [[float(i == j) for j in range(count)] for i in range(count)]


def _in_order(paths: Sequence[Path]) -> list[Path]:
    """The fine-tuned networks in the order of their sources, which their signatures tell; InputError where not."""
    found = {official_signature(path): path for path in paths}
    if set(found) != set(_FINE_TUNED):
        names = ", ".join(path.name for path in paths)
        raise InputError(
            f"which of {names} is for which source cannot be told: give demucs' YAML of the bag too, with models and "
            "weights (--checkpoint BAG.yaml)"
        )
    return [found[name] for name in _FINE_TUNED]


def _load(
    name: str,
    paths: Sequence[Path],
    weights: Weights | None,
    segment: float | None,
    stated: Stated | None,
    shipped: bool = False,
) -> Model:
    kind, _, sources = _KNOWN.get(name, (None, 0, 0))
    loaded = [load_any(path, kind, stated) for path in paths]
    networks = [shortened(network, segment) for network, _ in loaded]
    for path, network in zip(paths, networks, strict=True):
        found = len(network.config.sources) if kind == "htdemucs" else 0
        if sources and found != sources:
            hint = "give it a name of its own with --name"
            raise InputError(f"{path}: another model ({found} sources); {name} has {sources} ({hint})")
    if len(paths) > 1:
        check_alike(paths, networks)
    metadata = loaded[0][1]
    try:
        network = networks[0] if weights is None and len(networks) == 1 else Bag(networks, weights)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    origin = tuple(meta["origin"] for _, meta in loaded if "origin" in meta)
    rows = member_weights(network)
    if origin and rows is not None:
        origin = tuple({**o, "weights": row} for o, row in zip(origin, rows, strict=True))
    license_default = OFFICIAL_LICENSE if name.startswith("htdemucs") and not shipped else "as given by the provider"
    return Model(
        name,
        network.eval(),
        "; ".join(dict.fromkeys(meta.get("weights_license", license_default) for _, meta in loaded)),
        metadata.get("training_data", "not stated by the checkpoint"),
        shipped,
        origin,
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
    for name_ in signatures:
        url = urls[name_]
        path = folder / url.rsplit("/", 1)[1]
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[1])
            except (OSError, RuntimeError) as error:
                raise EdgeError(f"cannot fetch the official {name} ({error}); give --checkpoint FILE") from error
        paths.append(path)
    return paths
