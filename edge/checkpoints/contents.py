"""Which of a file's tensors are the network, and what else the file says about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from edge.checkpoints.config_file import plain, settings_in
from edge.checkpoints.settings import POSITIONAL
from edge.checkpoints.torch_file import Placeholder, class_path

_FIRST = "tencoder.0.conv.weight"  # in every HT Demucs, pruned or not
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")  # may stand inside a name
_CONFIGS = ("config", "cfg", "args", "hparams", "hyper_parameters", "model_args", "model_config", "training_args")
_DEPTH = 5


@dataclass
class Contents:
    """A state dict with demucs' names, the settings that the file states (None: none), and what was done, in words.

    complete: whether the settings are all that the constructor was given, so that the others have its defaults.
    """

    state: dict[str, torch.Tensor]
    settings: dict[str, Any] | None = None
    complete: bool = False
    notes: list[str] = field(default_factory=list)


def find_network(content: Any, wanted: str | None = None) -> Contents:
    """The HT Demucs in what `read_torch` gave, or in a flat dict of tensors.

    wanted: which of several (see `Contents.notes` of the error). Raises ValueError where there is none, or several.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state"), Mapping) and "__quantized" in content["state"]:
        raise ValueError("a DiffQ-quantized network, which is not supported; give the full-precision one")
    networks = dict(_networks(content, "", ()))
    if not networks:
        raise ValueError(f"{_what(content)}; expected demucs.htdemucs.HTDemucs")
    notes: list[str] = []
    place = wanted
    if wanted is None:
        place = _chosen(networks, notes)
    elif wanted not in networks:
        raise ValueError(f"no network {wanted!r} in it; it holds {', '.join(map(_label, networks))}")
    assert place is not None
    state, note, holders = networks[place]
    found = Contents(state, notes=notes + note)
    if place not in ("", "state"):
        found.notes.append(f"the weights are those of {place!r}")
    for holder in reversed(holders):  # what stands nearest to the network is said of it
        if found.settings is None:
            _read_settings(holder, found)
    kind = _other_kind(state)
    if kind:
        raise ValueError(f"a checkpoint of {kind}; only HT Demucs (v4) is supported")
    return found


def _chosen(networks: Mapping[str, tuple], notes: list[str]) -> str:
    """The one network; of a demucs trainer's checkpoint the best state, as demucs takes it."""
    if len(networks) == 1:
        return next(iter(networks))
    if "best_state" in networks:
        return "best_state"
    if "state" in networks and all(place == "state" or place.startswith("ema_") for place in networks):
        return "state"
    first, *others = (state for state, *_ in networks.values())
    if all(set(o) == set(first) and all(torch.equal(o[k], first[k]) for k in first) for o in others):
        return next(iter(networks))
    raise ValueError(f"it holds several networks: {', '.join(map(_label, networks))}; say which with --state NAME")


def _label(place: str) -> str:
    return place or "(the file itself)"


def _networks(
    content: Any, place: str, above: tuple[Any, ...]
) -> Iterator[tuple[str, tuple[dict, list[str], tuple[Any, ...]]]]:
    """Every mapping within `content` that holds an HT Demucs under some prefix: its place, its tensors, notes, and
    all that it lies in, from the whole file on (`above`: what `content` lies in)."""
    holders = (*above, content)
    if isinstance(content, Placeholder):
        module = _module_state(content)
        if module:
            content = module
        else:
            content = content.state if isinstance(content.state, Mapping) else content.entries
    if not isinstance(content, Mapping) or len(above) > _DEPTH:
        return
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    named = {_unwrapped(key): value for key, value in tensors.items()}
    prefixes = [key[: -len(_FIRST)] for key in named if key.endswith(_FIRST)]
    for prefix in prefixes:
        inside = {key[len(prefix) :]: value for key, value in named.items() if key.startswith(prefix)}
        notes = []
        if prefix or set(named) != set(tensors):
            words = [w for w in _WRAPPERS if any(w in key for key in tensors)]
            notes.append(f"stripped {' and '.join(repr(w) for w in [prefix, *words] if w)} from the names of tensors")
        rest = len(named) - len(inside)
        if rest and len(prefixes) == 1:
            notes.append(f"{rest} tensors outside {prefix!r} are not the network's")
        name = f"{place}.{prefix}".strip(".") if len(prefixes) > 1 else place
        yield name, (inside, notes, (*holders, *_parts(holders[-1], prefix)))
    for key, value in content.items():
        if isinstance(value, Mapping | Placeholder):
            yield from _networks(value, f"{place}.{key}".strip("."), holders)


def _unwrapped(key: str) -> str:
    for wrapper in _WRAPPERS:
        key = key.replace(wrapper, "")
    return key


def _module_state(module: Placeholder) -> dict[str, torch.Tensor]:
    """The state dict of a module that was pickled whole."""
    state = module.state
    if not isinstance(state, Mapping) or not isinstance(state.get("_modules"), Mapping):
        return {}
    tensors: dict[str, torch.Tensor] = {}
    skipped = state.get("_non_persistent_buffers_set")
    transient = set(skipped) if isinstance(skipped, set | frozenset) else set()
    for group in ("_parameters", "_buffers"):
        values = state.get(group)
        if isinstance(values, Mapping):
            tensors |= {k: v for k, v in values.items() if isinstance(v, torch.Tensor) and k not in transient}
    for name, child in state["_modules"].items():
        if isinstance(child, Placeholder):
            tensors |= {f"{name}.{key}": value for key, value in _module_state(child).items()}
    return tensors


def _parts(module: Any, prefix: str) -> Iterator[Placeholder]:
    """The modules on the way that `prefix` names within one that was pickled whole."""
    for name in filter(None, prefix.split(".")):
        children = module.state.get("_modules") if isinstance(getattr(module, "state", None), Mapping) else None
        module = children.get(name) if isinstance(children, Mapping) else None
        if not isinstance(module, Placeholder):
            return
        yield module


def _read_settings(content: Any, found: Contents) -> None:
    """The constructor's arguments that a demucs package, a pickled network, or a training's configuration states."""
    if isinstance(content, Placeholder) and isinstance(content.state, Mapping):
        arguments = content.state.get("_init_args_kwargs")
        if isinstance(arguments, tuple):
            _from_package({"klass": content, "args": arguments[0], "kwargs": arguments[1]}, found)
        return
    if not isinstance(content, Mapping):
        return
    if "kwargs" in content or "klass" in content:
        _from_package(content, found)
    for key in _CONFIGS if found.settings is None else ():
        read = settings_in(content.get(key))
        if read is not None:
            found.settings, extent = read
            # of whatever module trained the network, hyperparameters need not be all of the network's own
            found.complete = extent == "training" or (extent == "arguments" and key == "model_args")
            found.notes.append(f"the settings are those of {key!r}")
            return


def _from_package(package: Mapping, found: Contents) -> None:
    klass = class_path(package.get("klass")) or str(package.get("klass", "HTDemucs"))
    if klass.rpartition(".")[2] != "HTDemucs":
        raise ValueError(f"a checkpoint of another model ({_KLASSES.get(klass.rpartition('.')[2], klass)})")
    args, kwargs = (plain(package.get(key)) for key in ("args", "kwargs"))
    args = args or ()
    if kwargs is None and not args:
        return
    if not isinstance(args, tuple | list) or not isinstance(kwargs or {}, Mapping):
        raise ValueError("the arguments of its network cannot be read")
    if len(args) > len(POSITIONAL):
        raise ValueError("its network has too many positional settings to be read by name")
    found.settings = {**dict(zip(POSITIONAL, args, strict=False)), **(kwargs or {})}
    found.complete = True


_KLASSES = {
    "HDemucs": "Hybrid Demucs (v3)",
    "TorchHDemucsWrapper": "Hybrid Demucs (v3)",
    "Demucs": "Demucs (v2)",
}


def _other_kind(state: Mapping[str, torch.Tensor]) -> str | None:
    """What else has HT Demucs' first layer: Hybrid Demucs, whose branches merge and which has LSTMs."""
    levels, levels_t = (len({k.split(".")[1] for k in state if k.startswith(b)}) for b in ("encoder.", "tencoder."))
    recurrent = any(".lstm." in key or ".content." in key for key in state)
    return "Hybrid Demucs (v3)" if recurrent or levels != levels_t else None


def _what(content: Any) -> str:
    """What a file without an HT Demucs is, as far as its names tell."""
    if isinstance(content, Mapping) and "klass" in content:
        klass = class_path(content["klass"]) or str(content["klass"])
        return f"a checkpoint of another model ({_KLASSES.get(klass.rpartition('.')[2], klass)})"
    names = [name for name, _ in _tensors(content, 0)]
    if not names:
        return "it holds no state dict of tensors"
    joined = " ".join(names)
    for sign, kind in (
        ("freq_encoder.0", "Hybrid Demucs (v3, of torchaudio)"),
        ("lstm.lstm.weight", "Demucs (v2)"),
        ("encoder.0.0.weight", "Demucs (v2)"),
        ("band_split", "a band-split network"),
    ):
        if sign in joined:
            return f"a checkpoint of another model ({kind})"
    return f"a checkpoint of another model (its first tensor is {names[0]!r})"


def _tensors(content: Any, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, Placeholder):
        content = _module_state(content) or content.state
    if isinstance(content, Mapping) and depth <= _DEPTH:
        for key, value in content.items():
            if isinstance(value, torch.Tensor):
                yield str(key), value
            else:
                yield from _tensors(value, depth + 1)
