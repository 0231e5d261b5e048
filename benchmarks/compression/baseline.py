"""What pruning is worth: the pruned network recovered from its weights, against the same network trained from scratch.

Both train for the same minutes on the same data and threads, one after the other; the one from scratch has no teacher.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge import __version__
from edge.benchmarks.compression.tables import baseline_markdown
from edge.benchmarks.documents import as_json, read_as, write_texts
from edge.benchmarks.report import Watch
from edge.checkpoints import save_checkpoint
from edge.compression.cost import parameters
from edge.compression.prune import prune
from edge.errors import InputError
from edge.models.architectures import architecture_of
from edge.training.architectures import training_of
from edge.training.loop import Schedule, Task, train
from edge.training.recover import recover
from edge.training.tasks import NAMES
from edge.zoo import Model, load_model

FORMAT = "stem-edge compression baseline 1"
RECOVERED, SCRATCH = "pruned and recovered", "from scratch"
_LINEAR, _CONVOLUTIONS = (nn.Linear,), (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)

Progress = Callable[[str], None]


def fresh_weights(network: nn.Module, pruned: nn.Module, seed: int) -> nn.Module:
    """A copy of `pruned`, which was pruned from `network`, with newly initialised parameters.

    They are cut from an initialisation of the unpruned widths by `seed`, and larger as fewer inputs are added up, so
    that layers give outputs of the size that they would have, had they been made so narrow.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = dict(type(network)(network.config).named_parameters())
    fresh = copy.deepcopy(pruned).requires_grad_(True)
    rescaled = architecture_of(pruned).rescaled  # half as much of the width is left in the spread
    powers: dict[str, float] = {}
    for name, layer in fresh.named_modules():
        if isinstance(layer, (*_LINEAR, *_CONVOLUTIONS)):
            powers[f"{name}.weight"] = 0.25 if rescaled and isinstance(layer, _CONVOLUTIONS) else 0.5
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            source = drawn[name]
            value = source[tuple(slice(0, n) for n in parameter.shape)]
            if name in powers:
                value = value * math.pow(source[0].numel() / parameter[0].numel(), powers[name])
            parameter.copy_(value)
    return fresh


def compare(
    model_name: str,
    ratio: float,
    data: Path,
    minutes: float,
    out: Path,
    *,
    checkpoint: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Recover and train from scratch for `minutes` each; returns what it writes to out/baseline.json and baseline.md.

    The two runs lie in out/recovered and out/scratch. resume: go on with what is there of either. Raises InputError
    where there is a run and `resume` is false, or `data` is not what the model trains on.
    """
    model, watch = _load(model_name, checkpoint), Watch()
    folders = {RECOVERED: out / "recovered", SCRATCH: out / "scratch"}
    started = {name: (folder / "state.pt").exists() for name, folder in folders.items()}
    if any(started.values()) and not resume:
        raise InputError(f"{out} already holds a run: add --resume, or choose another folder")
    task = _task(model, data)
    pruned = prune(model.network, ratio).model
    validation = {"unpruned": _validate(task, model.network), "pruned, not trained": _validate(task, pruned)}
    progress(f"{model_name}: recover for {minutes:g} minutes")
    notes = {"training_data": model.training_data, "weights_license": model.weights_license}
    record = recover(
        copy.deepcopy(pruned),
        model.network,
        data,
        minutes,
        ratio,
        seed=seed,
        out=folders[RECOVERED],
        resume=started[RECOVERED],
        notes=notes,
    )
    validation[RECOVERED] = record["validation"]
    progress(f"{model_name}: train from scratch for {minutes:g} minutes")
    validation[SCRATCH] = _scratch(model, pruned, ratio, data, minutes, folders[SCRATCH], seed, started[SCRATCH])
    told = {
        "format": FORMAT,
        "model": model_name,
        "ratio": ratio,
        "minutes": minutes,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "parameters": parameters(pruned),
        "metric": training_of(model.network).metric,
        "validation": validation,
        "steps": {name: _steps(folder) for name, folder in folders.items()},
        "version": __version__,
        "command": " ".join(["edge-compress", *sys.argv[1:]]),
        "machine": watch.machine(),
    }
    texts = {
        "baseline.json": as_json(told),
        "baseline.md": f"# {model_name}: recovered or trained from scratch\n\n{baseline_markdown(told)}\n",
    }
    write_texts(out, texts)
    return told


def load(path: Path) -> dict[str, Any]:
    """What `compare` wrote, read back; InputError where the file is something else."""
    return read_as(FORMAT, path, "edge-compress baseline")


def _load(name: str, checkpoint: Path | None) -> Model:
    if name not in NAMES:
        raise InputError(f"there is no training of {name!r}; known: {', '.join(NAMES)}")
    return load_model(name, [checkpoint] if checkpoint else [])


def _task(model: Model, data: Path) -> Task:
    return training_of(model.network).task(data)


def _scratch(
    model: Model, pruned: nn.Module, ratio: float, data: Path, minutes: float, out: Path, seed: int, resume: bool
) -> dict[str, float]:
    student = fresh_weights(model.network, pruned, seed)
    record = json.dumps({"minutes": minutes, "method": "trained from scratch, without a teacher"})
    notes = {"training_data": model.training_data, "prune_ratio": str(ratio), "recovery": record}
    task = dataclasses.replace(
        _task(model, data), model=student, save=lambda path, network: save_checkpoint(path, network, notes)
    )
    # the schedule of the recovery, at the learning rate that the whole network is trained with
    return train(task, out, Schedule(minutes=minutes, warmup=50, ema=0.995, seed=seed), resume)


@torch.no_grad()
def _validate(task: Task, network: nn.Module) -> dict[str, float]:
    return task.validate(network.eval())


def _steps(folder: Path) -> int:
    return json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["step"]
