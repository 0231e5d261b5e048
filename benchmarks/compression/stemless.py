"""What recovery is worth without stems: on the mixtures of songs alone, and on their stems, for the same minutes:

python -m edge.benchmarks.compression.stemless --data data --minutes 6
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from edge.benchmarks.documents import write_json
from edge.benchmarks.machine import machine_line
from edge.benchmarks.report import Watch
from edge.benchmarks.tables import columns
from edge.compression.prune import prune
from edge.console import positive_float, run_command
from edge.training.architectures import training_of
from edge.training.recover import recover
from edge.training.shards import SCALE, open_shard, read_manifest
from edge.training.songs import RATE
from edge.zoo import load_model

NAME = "python -m edge.benchmarks.compression.stemless"
WHOLE, PRUNED, WITH, WITHOUT = "unpruned", "pruned, not trained", "with stems", "on mixtures alone"


def write_mixtures(music: Path, folder: Path) -> int:
    """The sums of the stems of the training songs in `music`, as 24-bit FLAC at 6 dB less; how many there are."""
    items = [item for item in read_manifest(music) if item.split == "train"]
    for item in items:
        mix = open_shard(music, item).astype(np.float32).sum(axis=0) / (2 * np.float32(SCALE))
        soundfile.write(folder / f"{Path(item.file).stem}.flac", mix.T, RATE, "PCM_24")
    return len(items)


def compare(data: Path, minutes: float, ratio: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """Both recoveries of htdemucs-mini, judged on the true stems of the validation songs.

    `share` is how far the one without stems comes of the way of the other, from the pruned network on; None where that
    one comes nowhere. Raises InputError where `data` has no songs.
    """
    network, watch = load_model("htdemucs-mini").network, Watch()
    training = training_of(network)
    task, pruned = training.task(data), prune(network, ratio).model
    networks = {WHOLE: network, PRUNED: pruned}
    with tempfile.TemporaryDirectory() as mixtures:
        songs = write_mixtures(data / training.folder, Path(mixtures))
        for name, source in ((WITH, data), (WITHOUT, Path(mixtures))):
            networks[name] = copy.deepcopy(pruned)
            recover(networks[name], network, source, minutes, ratio, seed=seed)
    with torch.no_grad():
        validation = {name: task.validate(each.eval()) for name, each in networks.items()}
    start, way, alone = (validation[name][training.metric] for name in (PRUNED, WITH, WITHOUT))
    return {
        "tool": {"name": NAME, "started": watch.started},
        "machine": watch.machine(),
        "minutes": minutes,
        "ratio": ratio,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "songs": songs,
        "metric": training.metric,
        "validation": validation,
        "share": (alone - start) / (way - start) if way > start else None,
    }


def text(found: dict[str, Any]) -> str:
    """The networks' figures, and the share in a sentence."""
    metrics = list(found["validation"][WHOLE])
    rows = [[name, *(f"{values[m]:.2f}" for m in metrics)] for name, values in found["validation"].items()]
    share = "nowhere" if found["share"] is None else f"{100 * found['share']:.0f} % of the way"
    return (
        f"{columns([['network', *metrics], *rows], (0,))}\n\nOn mixtures alone: {share} that recovery with stems comes "
        f"in the same {found['minutes']:g} minutes ({found['songs']} songs).\n{machine_line(found['machine'])}"
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="songs of edge-train data music")
    parser.add_argument("--minutes", type=positive_float, required=True, help="of each of the two trainings")
    parser.add_argument("--prune", type=float, default=0.5, metavar="RATIO", help="default: 0.5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args(argv)

    def body() -> None:
        with contextlib.redirect_stdout(sys.stderr):  # where the trainings tell of their validations
            found = compare(args.data, args.minutes, args.prune)
        if args.json:
            write_json(found, args.json)
        print(text(found))

    return run_command(NAME, body)


if __name__ == "__main__":
    sys.exit(main())
