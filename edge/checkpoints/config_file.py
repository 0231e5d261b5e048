"""Settings in a configuration: demucs', Music-Source-Separation-Training's, or the constructor's arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from edge.checkpoints.settings import ARGUMENTS, POSITIONAL, RELEASED
from edge.checkpoints.torch_file import Placeholder, class_path
from edge.errors import InputError

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 6


# How much a configuration tells: all that the constructor is given (by a training or by itself), or a part of it.
Extent = Literal["training", "arguments", "part"]


def read_config(source: str) -> tuple[dict[str, Any], Extent]:
    """The constructor's arguments in a YAML or JSON file, or of a released network by name; and how many of them.

    Raises InputError for a file that is neither.
    """
    if source in RELEASED and not Path(source).exists():
        return dict(RELEASED[source]), "part"
    content = read_yaml(Path(source))
    try:
        found = settings_in(content)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    if found is None:
        known = "demucs' and Music-Source-Separation-Training's YAML, and JSON of the constructor's arguments"
        raise InputError(f"{source}: no settings of an HT Demucs in it (known are {known})")
    return found


def read_yaml(path: Path) -> Any:
    """The content of a YAML or JSON file, without building anything that it names."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: too large for a configuration")
        return yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # JSON is YAML
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: neither YAML nor JSON ({' '.join(str(error).split())[:120]})") from error


class _PlainLoader(yaml.SafeLoader):
    """Tags such as !!python/tuple keep their values, as lists and dicts."""


def _untagged(loader: yaml.Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_PlainLoader.add_multi_constructor("", _untagged)


def settings_in(config: Any) -> tuple[dict[str, Any], Extent] | None:
    """The constructor's arguments in a configuration, plain or as OmegaConf pickles it; and how many of them.

    None where there are none. Raises ValueError for a configuration of another network.
    """
    config = plain(config)
    if not isinstance(config, Mapping):
        return None
    if isinstance(config.get("config"), Mapping):  # as Lightning wraps its hyperparameters
        return settings_in(config["config"])
    data = config.get("dset")
    if isinstance(data, Mapping):  # demucs'
        audio = {"sources": data.get("sources"), "audio_channels": data.get("channels")}
        segment = config.get("model_segment")
        if segment is None and isinstance(data.get("segment"), int | float):
            segment = 4 * data["segment"]
        return _of_training(config, audio | {"samplerate": data.get("samplerate"), "segment": segment})
    data = config.get("training")
    if isinstance(data, Mapping):  # Music-Source-Separation-Training's
        audio = {"sources": data.get("instruments"), "audio_channels": data.get("channels")}
        return _of_training(config, audio | {"samplerate": data.get("samplerate"), "segment": data.get("segment")})
    if isinstance(config.get("kwargs"), Mapping):  # of a demucs package, as its safetensors have it
        positional = dict(zip(POSITIONAL, config.get("args") or (), strict=False))
        return {**positional, **config["kwargs"]}, "arguments"
    known = {key: value for key, value in config.items() if key in ARGUMENTS}
    if not known:
        return None
    # the constructor asks for the sources: without them, or among other keys, these are not its arguments
    return known, "arguments" if "sources" in known and len(known) == len(config) else "part"


def _of_training(config: Mapping, audio: Mapping[str, Any]) -> tuple[dict[str, Any], Extent] | None:
    kind = config.get("model", "htdemucs")
    if kind != "htdemucs":
        raise ValueError(f"the configuration of another model ({kind}); expected htdemucs")
    network = config.get("htdemucs")
    if not isinstance(network, Mapping):
        return None
    settings = {**{key: value for key, value in audio.items() if value is not None}, **network}
    for key, value in settings.items():
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{key} is {value!r}: write the value itself")
    return settings, "part" if None in audio.values() else "training"


def plain(value: Any, depth: int = 0) -> Any:
    """Containers of OmegaConf and namespaces, as `read_torch` gives them, as dicts and lists; JSON's fractions.

    What lies deeper than any configuration is left out: objects may hold each other.
    """
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, Placeholder):
        state = value.state
        if class_path(value).startswith("omegaconf.") and isinstance(state, Mapping):
            return plain(state.get("_content", state.get("_val")), depth)
        if class_path(value).endswith("multiarray.scalar"):
            return _number(*value.args)
        return plain(state if isinstance(state, Mapping) else value.entries, depth + 1)
    if isinstance(value, Mapping):
        if value.get("_type") == "fraction":
            return Fraction(int(value["numerator"]), int(value["denominator"]))
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return value


def _number(dtype: Any, content: Any) -> Any:
    """A number of NumPy's, from what it pickles: bytes, in older protocols as text in Latin-1."""
    if isinstance(content, Placeholder):
        content = content.args[0].encode("latin1")
    return np.frombuffer(content, np.dtype(dtype.args[0]), 1)[0].item()


def json_arguments(metadata: Mapping[str, str]) -> dict[str, Any]:
    """`klass`, `args` and `kwargs` of the safetensors that demucs 4.1 writes; ValueError where they cannot be read."""
    package: dict[str, Any] = {"klass": metadata["klass"]}
    for key in ("args", "kwargs"):
        if key in metadata:
            package[key] = from_json(key, metadata[key])
    return package


def from_json(key: str, text: str) -> Any:
    """The value of a safetensors' metadata; ValueError, naming it, where it is no JSON."""
    try:
        return plain(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{key!r} in its metadata is no JSON ({error})") from error
