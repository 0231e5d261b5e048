"""What commands are told about a user's checkpoint, and what they tell of it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.console import non_negative_float, positive_int
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.checkpoints import Stated
    from edge.zoo import Model


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --name, and the settings of a network that its file does not tell."""
    group = parser.add_argument_group("checkpoints of your own")
    group.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="weights of the one MODEL given (.th, .pt, .ckpt, .safetensors), or a bag's .yaml as demucs has it",
    )
    group.add_argument("--name", metavar="NAME", help="the model's own name (default: MODEL, or the checkpoint's)")
    group.add_argument(
        "--config",
        metavar="FILE",
        help="settings of the network: YAML of demucs' training or of Music-Source-Separation-Training, JSON of the "
        "constructor's arguments, or the name of a released network of which this is a fine-tune (htdemucs)",
    )
    group.add_argument("--sources", type=_names, metavar="A,B,...", help="names of the stems, in the network's order")
    group.add_argument("--sample-rate", type=positive_int, metavar="HZ", help="that the network was trained at")
    group.add_argument("--heads", type=positive_int, metavar="N", help="attention heads of its transformer")
    group.add_argument(
        "--freq-emb", type=non_negative_float, metavar="X", help="weight of its frequency embedding (0.2 in demucs)"
    )
    group.add_argument("--nfft", type=positive_int, metavar="N", help="its STFT window in samples")
    group.add_argument("--state", metavar="NAME", help="which network, where a file holds several")
    group.add_argument("--license", metavar="TEXT", help="licence of the weights, for the manifest and the card")


def stated(args: argparse.Namespace) -> Stated:
    """What the options of `add_checkpoint_options`, and --segment, say about the checkpoint."""
    from edge.checkpoints import Stated

    keys = dict(sources="sources", sample_rate="samplerate", heads="t_heads", freq_emb="freq_emb", nfft="nfft")
    settings = {name: getattr(args, option) for option, name in keys.items() if getattr(args, option) is not None}
    if args.checkpoint and getattr(args, "segment", None) is not None:
        settings["segment"] = args.segment
    return Stated(args.config, settings, args.state, args.license)


def load(args: argparse.Namespace, model: str | None) -> Model:
    """The network of the options, under its own name; what is known of a checkpoint goes to stderr.

    model: the MODEL that was named, None for none.
    """
    from edge.zoo import NAMES, load_model

    name = args.name or model
    if name is None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", args.checkpoint[0].stem).strip("-.") or "network"
    if args.name and not args.checkpoint:
        raise InputError("--name is for a network of your own: give its --checkpoint FILE")
    if args.name and model is not None and model not in NAMES:
        raise InputError(f"unknown model {model!r}; known: {', '.join(NAMES)}")
    loaded = load_model(name, args.checkpoint, stated(args))
    for record in loaded.origin:
        print("\n".join(told(record)), file=sys.stderr)
    return loaded


def told(record: Mapping[str, Any]) -> list[str]:
    """Lines that say where each setting of a checkpoint comes from."""
    lines = [f"{record['file']}:"]
    for key, words in (
        ("read", "read from the file"),
        ("inferred", "inferred from its tensors"),
        ("given", "as given"),
        ("default", "demucs' own defaults"),
    ):
        if record.get(key):
            lines.append(f"  {words}: " + ", ".join(f"{k} {_short(v)}" for k, v in record[key].items()))
    if "weights" in record:
        lines.append(f"  weights in the bag: {' '.join(f'{w:g}' for w in record['weights'])}")
    return lines + [f"  note: {note}" for note in record.get("notes", [])]


def _short(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError("must be names, each once, with commas between them")
    return names
