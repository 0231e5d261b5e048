"""The checkpoints that stem-edge writes.

A stem-edge checkpoint is a safetensors file whose metadata holds `model` ("htdemucs" or "enhancer"), `config` (JSON)
and free text such as `training_data` and `weights_license`; its tensors are fp32, fp16 or int8 (see
`save_checkpoint`). A pruned network also names its `prune_ratio`: its layer widths then follow the tensors in the file.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from edge.atomic import atomic_path
from edge.errors import InputError
from edge.models.architectures import ARCHITECTURES, architecture_of
from edge.models.widths import fit_widths

_SCALE = ".int8_scale"


def save_checkpoint(
    path: Path | str, model: nn.Module, metadata: Mapping[str, str] | None = None, precision: str = "fp32"
) -> None:
    """Write `model` (of a registered architecture, pruned or not) to a safetensors file, atomically.

    precision: "fp32", "fp16", or "int8": matrices and kernels as int8 with an fp32 scale for each row of their first
    axis (`NAME.int8_scale`), all else, and what the architecture spares, as fp16.
    """
    architecture = architecture_of(model)
    config = json.dumps(dataclasses.asdict(model.config), default=str)  # type: ignore[call-overload]
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if precision == "int8":
        tensors = _encode_int8(tensors, architecture.fp32_tensors)
    if precision != "fp32":
        tensors = {k: v if k.endswith(_SCALE) or not v.is_floating_point() else v.half() for k, v in tensors.items()}
    for key, module in model.named_modules():
        if isinstance(getattr(module, "kept", None), torch.Tensor):
            tensors[f"{key}.kept"] = module.kept.cpu().contiguous()
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={**(metadata or {}), "model": architecture.kind, "config": config})


def _encode_int8(tensors: Mapping[str, torch.Tensor], spared: Sequence[str]) -> dict[str, torch.Tensor]:
    encoded = {}
    for name, values in tensors.items():
        if values.dim() < 2 or not values.is_floating_point() or name in spared:
            encoded[name] = values
            continue
        largest = values.abs().flatten(1).amax(1).clamp_min(torch.finfo(torch.float32).tiny)
        scale = (largest / 127).reshape(-1, *[1] * (values.dim() - 1))
        encoded |= {name: torch.round(values / scale).to(torch.int8), name + _SCALE: scale}
    return encoded


def _decode_int8(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    whole = {name: values for name, values in tensors.items() if not name.endswith(_SCALE)}
    for name in [name for name, values in whole.items() if values.dtype == torch.int8]:
        if name + _SCALE not in tensors:
            raise RuntimeError(f"no {name}{_SCALE}")
        whole[name] = whole[name] * tensors[name + _SCALE]
    return whole


def load_checkpoint(path: Path | str) -> nn.Module:
    """Read a stem-edge safetensors file (from `save_checkpoint`); the model is in eval mode, fp32, on the CPU."""
    state, metadata = read_safetensors(Path(path))
    if "model" not in metadata:
        raise InputError(f"{path}: not a stem-edge checkpoint (no model named in its metadata)")
    return build_own(Path(path), metadata["model"], metadata, state)


def checkpoint_metadata(path: Path | str) -> dict[str, str]:
    """The text fields of a safetensors checkpoint."""
    return read_safetensors(Path(path))[1]


def build_own(path: Path, kind: str, metadata: Mapping[str, str], state: dict[str, torch.Tensor]) -> nn.Module:
    """The network of one of our files, from its metadata and tensors; InputError where they do not fit together."""
    if kind not in ARCHITECTURES:
        raise InputError(f"{path}: a checkpoint of another model ({kind}); known: {', '.join(ARCHITECTURES)}")
    cls, config_cls = ARCHITECTURES[kind].network, ARCHITECTURES[kind].config
    try:
        model = cls(_config(config_cls, json.loads(metadata["config"])))
        if "prune_ratio" in metadata:
            fit_widths(model, state)
        model.load_state_dict({k: v.float() for k, v in state.items() if not k.endswith(".kept")}, strict=True)
    except (RuntimeError, KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
        reason = str(error).strip().splitlines()
        detail = reason[1].strip() if len(reason) > 1 else reason[0] if reason else type(error).__name__
        raise InputError(f"{path}: the checkpoint does not fit the {kind} network: {detail[:200]}") from error
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"{path}: the checkpoint holds NaN or Inf values (first in {bad[0]})")
    return model.eval()


def _config(cls: type, values: Mapping) -> object:
    """Config dataclass from JSON."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in fields}
    if "segment" in known:
        known["segment"] = Fraction(str(known["segment"]))
    return cls(**known)


def is_safetensors(path: Path) -> bool:
    """A safetensors file starts with the length of a JSON header (8 bytes, little-endian), then '{'."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 100_000_000


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (those of our int8 files in fp32) and metadata of any safetensors file; InputError where damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors, metadata = {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})
            return (_decode_int8(tensors) if "model" in metadata else tensors), metadata
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: a damaged safetensors file ({error})") from error
