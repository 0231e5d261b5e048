"""What an HT Demucs network is: the arguments of demucs' constructor, and how much of them is known, and from where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch

from edge.models.htdemucs import HTDemucsConfig

# Of demucs' `HTDemucs.__init__`, which a package leaves out where they were not given; not those of HTDemucsConfig.
CONSTRUCTOR: dict[str, Any] = {
    "audio_channels": 2,
    "channels": 48,
    "growth": 2,
    "nfft": 4096,
    "depth": 4,
    "freq_emb": 0.2,
    "emb_scale": 10,
    "kernel_size": 8,
    "stride": 4,
    "context": 1,
    "context_enc": 0,
    "dconv_mode": 1,
    "dconv_depth": 2,
    "dconv_comp": 8,
    "dconv_init": 1e-3,
    "bottom_channels": 0,
    "t_layers": 5,
    "t_hidden_scale": 4.0,
    "t_heads": 8,
    "t_cross_first": False,
    "t_max_period": 10000.0,
    "t_weight_pos_embed": 1.0,
    "samplerate": 44100,
    "segment": 10,
}
POSITIONAL = ("sources", "audio_channels", "channels", "channels_time", "growth", "nfft")  # forks differ after these

# Settings that our network has in one form only; any other value is refused, never ignored.
_FIXED: dict[str, tuple] = {
    "cac": (True,),
    "rewrite": (True,),
    "multi_freqs": (None, [], ()),
    "num_subbands": (1,),  # of Music-Source-Separation-Training
    "t_emb": ("sin",),
    "t_norm_in": (True,),
    "t_norm_in_group": (False,),
    "t_group_norm": (False,),
    "t_norm_first": (True,),
    "t_norm_out": (True,),
    "t_layer_scale": (True,),
    "t_gelu": (True,),
    "t_sparse_self_attn": (False,),
    "t_sparse_cross_attn": (False,),
    "t_sin_random_shift": (0,),
}
# Of training, or of forms that `_FIXED` and `check` refuse: what they are changes no output.
_WITHOUT_EFFECT = frozenset(
    """wiener_iters end_iters wiener_residual multi_freqs_depth emb_smooth time_stride norm_groups norm_starts
    channels_time t_dropout t_max_positions t_weight_decay t_lr t_cape_mean_normalize t_cape_augment
    t_cape_glob_loc_scale t_mask_type t_mask_random_seed t_sparse_attn_window t_global_window t_sparsity
    t_auto_sparsity rescale use_train_segment""".split()
)
ARGUMENTS = frozenset({"sources", *CONSTRUCTOR, *_FIXED, *_WITHOUT_EFFECT})

# What the tensors of the released networks do not tell: `--config htdemucs` and so on.
_FOUR = ["drums", "bass", "other", "vocals"]
_RELEASED = {"samplerate": 44100, "segment": Fraction(39, 5), "t_heads": 8, "freq_emb": 0.2, "nfft": 4096}
RELEASED: dict[str, dict[str, Any]] = {
    "htdemucs": _RELEASED | {"sources": _FOUR},
    "htdemucs_ft": _RELEASED | {"sources": _FOUR},
    "htdemucs_6s": _RELEASED | {"sources": [*_FOUR, "guitar", "piano"]},
}

# What no tensor tells and what differs between the networks that people train: never assumed. option: how it is given.
ASKED = {
    "sources": "--sources",
    "samplerate": "--sample-rate",
    "segment": "--segment",
    "t_heads": "--heads",
    "freq_emb": "--freq-emb",
    "nfft": "--nfft",
}


@dataclass
class Origin:
    """Where each setting of a network comes from: the file, its tensors' shapes, the user, or the constructor."""

    read: dict[str, Any] = field(default_factory=dict)
    inferred: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    default: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As JSON has it, for the manifest."""
        parts = {key: value for key, value in vars(self).items() if value}
        return {
            key: value if key == "notes" else {name: _plain(v) for name, v in value.items()}
            for key, value in parts.items()
        }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Fraction) else list(value) if isinstance(value, tuple) else value


def check(settings: Mapping[str, Any]) -> None:
    """Raises ValueError, naming the setting, where our network has not the form that these arguments ask for."""
    for key, value in settings.items():
        if key not in ARGUMENTS:
            raise ValueError(f"unknown setting {key}={value!r}, which may change what the network computes")
        if key in _FIXED and value not in _FIXED[key]:
            raise ValueError(f"unsupported setting {key}={value!r}")
    whole = CONSTRUCTOR | {"norm_starts": 4} | dict(settings)
    if whole["norm_starts"] < whole["depth"]:
        raise ValueError(f"unsupported setting norm_starts={whole['norm_starts']} (below depth {whole['depth']})")
    if whole.get("channels_time") not in (None, 0, whole["channels"]):
        raise ValueError(f"unsupported setting channels_time={whole['channels_time']!r}")
    if whole["audio_channels"] not in (1, 2):
        raise ValueError(f"unsupported setting audio_channels={whole['audio_channels']!r} (mono and stereo only)")
    kernel, stride = whole["kernel_size"], whole["stride"]
    if kernel - 2 * (kernel // 4) != stride:
        raise ValueError(f"unsupported settings kernel_size={kernel} with stride={stride}")
    if whole["nfft"] // 2 // stride ** (whole["depth"] - 1) <= kernel:
        raise ValueError(f"unsupported settings depth={whole['depth']} with nfft={whole['nfft']} (no frequencies left)")
    rows = stride ** whole["depth"]
    if whole["nfft"] // 2 % rows:
        raise ValueError(f"unsupported settings depth={whole['depth']} with nfft={whole['nfft']} (not by 2 x {rows})")


def to_config(settings: Mapping[str, Any]) -> HTDemucsConfig:
    """The network's configuration from all the constructor's arguments; ValueError for values that no network has."""
    check(settings)
    values = {key: settings[key] for key in ("sources", *CONSTRUCTOR)}
    sources = values["sources"]
    if not isinstance(sources, Sequence) or isinstance(sources, str) or not all(isinstance(s, str) for s in sources):
        raise ValueError(f"sources must be a list of names, not {sources!r}")
    if not sources or len(set(sources)) != len(sources):
        raise ValueError("sources must be names, each once")
    for key in ("audio_channels", "channels", "growth", "nfft", "depth", "kernel_size", "stride", "samplerate"):
        values[key] = _whole(key, values[key])
        if values[key] < 1:
            raise ValueError(f"{key} must be positive, not {values[key]}")
    for key in ("context", "context_enc", "dconv_mode", "dconv_depth", "bottom_channels", "t_layers", "t_heads"):
        values[key] = _whole(key, values[key] or 0)
    for key in ("freq_emb", "emb_scale", "dconv_comp", "dconv_init", "t_hidden_scale", "t_max_period"):
        values[key] = float(values[key] or 0)
    values["t_weight_pos_embed"] = float(values["t_weight_pos_embed"])
    values["t_cross_first"] = bool(values["t_cross_first"])
    values["sources"] = tuple(sources)
    values["segment"] = _segment(values["segment"], values["samplerate"])
    config = HTDemucsConfig(**values)
    dim = config.bottom_channels or config.channels * config.growth ** (config.depth - 1)
    if config.t_layers and (config.t_heads < 1 or dim % config.t_heads):
        raise ValueError(f"t_heads={config.t_heads} does not divide the transformer's {dim} channels")
    return config


def _whole(key: str, value: Any) -> int:
    if not float(value).is_integer():
        raise ValueError(f"{key} must be a whole number, not {value!r}")
    return int(value)


def _segment(value: Any, rate: int) -> Fraction:
    """Seconds, as the whole number of samples that demucs makes of them (a float loses one here and there)."""
    seconds = Fraction(value) if isinstance(value, str) and "/" in value else value
    samples = int(seconds * rate) if isinstance(seconds, int | Fraction) else int(rate * float(seconds))
    if samples < 1 or not math.isfinite(samples):
        raise ValueError(f"segment must be positive, not {value!r}")
    return Fraction(samples, rate)


def infer(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The constructor's arguments that the shapes of a state dict tell; KeyError where it is no HT Demucs."""
    depth = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("tencoder."))
    first = state["tencoder.0.conv.weight"]
    width, audio, kernel = first.shape
    in_encoder, in_decoder = (f"{b}.0.dconv.layers.0.0.weight" in state for b in ("encoder", "decoder"))
    blocks = {k.split(".")[4] for k in state if k.startswith(("encoder.0.dconv.layers.", "decoder.0.dconv.layers."))}
    layers = {int(k.split(".")[2]) for k in state if k.startswith("crosstransformer.layers.")}
    found: dict[str, Any] = dict(
        audio_channels=audio,
        channels=width,
        depth=depth,
        kernel_size=kernel,
        context=(state["decoder.0.rewrite.weight"].shape[-1] - 1) // 2,
        context_enc=(state["encoder.0.rewrite.weight"].shape[-1] - 1) // 2,
        dconv_mode=in_encoder + 2 * in_decoder,
        t_layers=len(layers),
    )
    if depth > 1:
        found["growth"] = state["tencoder.1.conv.weight"].shape[0] // width
    hidden = state.get("encoder.0.dconv.layers.0.0.weight", state.get("decoder.0.dconv.layers.0.0.weight"))
    if hidden is not None:
        found |= dict(dconv_depth=len(blocks), dconv_comp=_compression(state))
    up = state.get("channel_upsampler.weight")
    found["bottom_channels"] = up.shape[0] if up is not None else 0
    if layers:
        ffn = state["crosstransformer.layers.0.linear1.weight"]
        found |= dict(
            t_hidden_scale=ffn.shape[0] / ffn.shape[1],
            t_cross_first="crosstransformer.layers.0.cross_attn.out_proj.weight" in state,
        )
    embedding = state.get("freq_emb.embedding.weight")
    if embedding is None:
        found["freq_emb"] = 0
    return found


def _compression(state: Mapping[str, torch.Tensor]) -> float:
    """The divisor that gives the widths of all residual branches, which are rounded down."""
    hidden = [state[k].shape for k in state if k.endswith(".dconv.layers.0.0.weight")]
    whole = (c for c in range(1, 129) if all(int(shape[1] / c) == shape[0] for shape in hidden))
    return next(whole, hidden[0][1] / hidden[0][0])


def outputs(state: Mapping[str, torch.Tensor]) -> int:
    """How many sources a state dict has."""
    last = max(int(k.split(".")[1]) for k in state if k.startswith("tdecoder."))
    return state[f"tdecoder.{last}.conv_tr.weight"].shape[1] // state["tencoder.0.conv.weight"].shape[1]


def complete(state: Mapping[str, torch.Tensor], told: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
    """All the constructor's arguments of a bare state dict: told ones, those of its shapes, the constructor's.

    `origin` is filled in. Raises MissingSettings where one is unknown that differs between networks.
    """
    inferred = {key: value for key, value in infer(state).items() if key not in told}
    origin.inferred |= inferred
    known = {**inferred, **told}
    rows = state.get("freq_emb.embedding.weight")
    if rows is not None and "nfft" not in known:
        stride = known.get("stride", CONSTRUCTOR["stride"])
        known["nfft"] = origin.inferred["nfft"] = rows.shape[0] * 2 * stride
    without = {"t_heads"} if known["t_layers"] == 0 else set()
    missing = [key for key in ASKED if key not in known and key not in without]
    if missing:
        raise MissingSettings(missing)
    origin.default |= {key: value for key, value in CONSTRUCTOR.items() if key not in known and key not in without}
    return CONSTRUCTOR | known


class MissingSettings(ValueError):
    """Settings that change the result and that nothing tells."""

    def __init__(self, keys: Sequence[str]):
        self.keys = tuple(keys)
        super().__init__(", ".join(keys))
