"""Checkpoints in and out: our safetensors files, and the released `.th` files without unpickling any object.

A stem-edge checkpoint is a safetensors file whose metadata holds `model` ("htdemucs" or "enhancer"), `config` (JSON)
and free text such as `training_data` and `weights_license`; its tensors are fp32, fp16 or int8 (see
`save_checkpoint`). A pruned network also names its `prune_ratio`: its layer widths then follow the tensors in the file.
"""

import dataclasses
import json
import pickle
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
from edge.models.htdemucs import HTDemucsConfig
from edge.models.widths import fit_widths

OFFICIAL_LICENSE = (
    "Official HT Demucs weights: provided only for scientific purposes by their author "
    "(facebookresearch/demucs#327, #508); do not redistribute"
)
UNKNOWN_LICENSE = "as given by the provider of the checkpoint"


# Released settings that our network implements in one form only; any other value is refused, never ignored.
_FIXED_SETTINGS: dict[str, tuple] = {
    "channels_time": (None,),
    "cac": (True,),
    "rewrite": (True,),
    "multi_freqs": (None, [], ()),
    "t_emb": ("sin",),
    "t_norm_in": (True,),
    "t_norm_in_group": (False,),
    "t_group_norm": (False, 0),
    "t_norm_first": (True,),
    "t_norm_out": (True, 1),
    "t_layer_scale": (True,),
    "t_gelu": (True,),
    "t_sparse_self_attn": (False,),
    "t_sparse_cross_attn": (False,),
    "t_sin_random_shift": (0,),
}


_SCALE = ".int8_scale"
_POSITIONAL = ("sources", "audio_channels", "channels", "channels_time", "growth", "nfft")


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
    state, metadata = _read_safetensors(Path(path))
    if "model" not in metadata:
        raise InputError(f"{path}: not a stem-edge checkpoint (no model named in its metadata)")
    return _build(Path(path), metadata["model"], metadata, state)


def checkpoint_metadata(path: Path | str) -> dict[str, str]:
    """The text fields of a safetensors checkpoint."""
    return _read_safetensors(Path(path))[1]


def load_any(path: Path | str, expected: str) -> tuple[nn.Module, dict[str, str]]:
    """Read a user's checkpoint: ours, or an HT Demucs `.th`/`.safetensors` as saved by the `demucs` package.

    expected: "htdemucs" or "enhancer", the kind of network wanted. Returns the model and its metadata.
    Raises InputError for a missing, damaged, or foreign file, or one of another model.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the checkpoint is empty")
    if _is_safetensors(path):
        state, metadata = _read_safetensors(path)
    else:
        state, metadata = _read_torch(path)
    kind = metadata.get("model") or ("htdemucs" if "tencoder.0.conv.weight" in state else "unknown")
    if kind != expected:
        raise InputError(f"{path}: a checkpoint of another model ({kind}); expected {expected}")
    return _build(path, kind, metadata, state), metadata


def _build(path: Path, kind: str, metadata: Mapping[str, str], state: dict[str, torch.Tensor]) -> nn.Module:
    if kind not in ARCHITECTURES:
        raise InputError(f"{path}: a checkpoint of another model ({kind}); known: {', '.join(ARCHITECTURES)}")
    cls, config_cls = ARCHITECTURES[kind].network, ARCHITECTURES[kind].config
    try:
        config = _config(config_cls, json.loads(metadata["config"])) if "config" in metadata else _infer(state)
        model = cls(config)
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
    """Config dataclass from JSON or from the released keyword arguments; settings we do not implement are refused."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, allowed in _FIXED_SETTINGS.items():
        if key in values and values[key] not in allowed:
            raise ValueError(f"unsupported setting {key}={values[key]!r}")
    if values.get("norm_starts", 99) < values.get("depth", 4):
        raise ValueError(f"unsupported setting norm_starts={values['norm_starts']} (below depth)")
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in fields}
    if "segment" in known:
        known["segment"] = Fraction(str(known["segment"]))
    return cls(**known)


def _infer(state: Mapping[str, torch.Tensor]) -> HTDemucsConfig:
    """Configuration of a bare HT Demucs state dict: every width follows from a tensor's shape."""
    depth = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("tencoder."))
    first, second = state["tencoder.0.conv.weight"], state["tencoder.1.conv.weight"]
    audio, width = first.shape[1], first.shape[0]
    outputs = state[f"tdecoder.{depth - 1}.conv_tr.weight"].shape[1] // audio
    names: tuple[str, ...] = ("drums", "bass", "other", "vocals", "guitar", "piano")
    sources = names[:outputs] if outputs in (4, 6) else tuple(f"source{i}" for i in range(outputs))
    hidden = state.get("encoder.0.dconv.layers.0.0.weight", state.get("decoder.0.dconv.layers.0.0.weight"))
    layers = {int(k.split(".")[2]) for k in state if k.startswith("crosstransformer.layers.")}
    up = state.get("channel_upsampler.weight")
    ffn = state.get("crosstransformer.layers.0.linear1.weight")
    embedding = state.get("freq_emb.embedding.weight")
    in_encoder, in_decoder = (f"{b}.0.dconv.layers.0.0.weight" in state for b in ("encoder", "decoder"))
    blocks = {k.split(".")[4] for k in state if k.startswith(("encoder.0.dconv.layers.", "decoder.0.dconv.layers."))}
    return HTDemucsConfig(
        sources=sources,
        audio_channels=audio,
        depth=depth,
        channels=width,
        growth=second.shape[0] // width,
        nfft=embedding.shape[0] * 8 if embedding is not None else 4096,
        freq_emb=0.2 if embedding is not None else 0.0,
        dconv_mode=in_encoder + 2 * in_decoder,
        dconv_depth=len(blocks),
        dconv_comp=hidden.shape[1] // hidden.shape[0] if hidden is not None else 8,
        bottom_channels=up.shape[0] if up is not None else 0,
        t_layers=len(layers),
        t_hidden_scale=ffn.shape[0] / ffn.shape[1] if ffn is not None else 4.0,
        t_cross_first="crosstransformer.layers.0.cross_attn.out_proj.weight" in state,
    )


def _is_safetensors(path: Path) -> bool:
    """A safetensors file starts with the length of a JSON header (8 bytes, little-endian), then '{'."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 100_000_000


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return _decode_int8({k: file.get_tensor(k) for k in file.keys()}), dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: a damaged safetensors file ({error})") from error


class _Inert:
    """Stands in for every class that a checkpoint names: keeps nothing, does nothing."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _read_torch(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """State dict and metadata of a `.th` file: a bare state dict, or the package that the demucs trainer writes.

    Only tensors, containers and Fractions are built; any class that the file names becomes an inert placeholder.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        allowed = [(Fraction if n == "fractions.Fraction" else type("Inert", (_Inert,), {"path": n}), n) for n in names]
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise InputError(f"{path}: not a readable PyTorch checkpoint (damaged, or not a checkpoint at all)") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: a checkpoint must hold a state dict; this one holds {type(content).__name__}")
    if "klass" not in content:
        state = content.get("state", content.get("state_dict", content))
        return _tensors(path, state), {"weights_license": UNKNOWN_LICENSE}
    klass = getattr(content["klass"], "path", str(content["klass"]))
    if not klass.endswith("HTDemucs"):
        raise InputError(f"{path}: a checkpoint of another model ({klass}); expected demucs.htdemucs.HTDemucs")
    positional = dict(zip(_POSITIONAL, content["args"], strict=False))
    if len(content["args"]) > len(positional):
        raise InputError(f"{path}: the checkpoint's network has too many positional settings to be read by name")
    if content["state"].get("__quantized"):
        raise InputError(f"{path}: DiffQ-quantized checkpoints are not supported; use the full-precision one")
    config = json.dumps({**positional, **content["kwargs"]}, default=str)
    return _tensors(path, content["state"]), {
        "model": "htdemucs",
        "config": _fill_defaults(config),
        "weights_license": OFFICIAL_LICENSE,
    }


def _fill_defaults(config: str) -> str:
    """Settings that a released file leaves to the constructor have the constructor's defaults, not the config's."""
    defaults = dict(segment=10, bottom_channels=0, dconv_mode=1, t_layers=5, norm_starts=4, dconv_comp=8, depth=4)
    return json.dumps({**defaults, **json.loads(config)})


def _tensors(path: Path, state: object) -> dict[str, torch.Tensor]:
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{path}: the checkpoint holds no state dict of tensors")
    return {str(k): v for k, v in state.items()}
