"""Recovery after pruning: a short training of the small network on data, taught by the unpruned one."""

import copy
import dataclasses
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge.checkpoints import load_checkpoint, save_checkpoint
from edge.errors import InputError
from edge.training.architectures import training_of
from edge.training.loop import Schedule, Task, train

METHOD = "distillation: the target is {:g} of the truth and {:g} of the unpruned network's output"
UNLABELLED = "distillation on recordings alone: the target is the unpruned network's output"


@dataclass(frozen=True)
class Recovery:
    """`recover` with what it trains on and for how long; the rest is told when the network is there."""

    minutes: float
    data: Path

    def __call__(self, student: nn.Module, teacher: nn.Module, ratio: float, seed: int) -> dict[str, Any]:
        return recover(student, teacher, self.data, self.minutes, ratio, seed=seed)


def recover(
    student: nn.Module,
    teacher: nn.Module,
    data: Path,
    minutes: float,
    ratio: float,
    *,
    seed: int = 0,
    batch: int | None = None,
    seconds: float | None = None,
    out: Path | None = None,
    resume: bool = False,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train the pruned `student` in place for `minutes`; returns its record.

    data: what `edge-train data` wrote, or, for a separator, any folder of recordings (see `mixtures`).

    batch, seconds: examples a step and their length, where not the task's own. out: folder of the run, to resume it
    and to keep its checkpoint (pruned widths, with `notes` as metadata); without it the run is temporary. Raises
    InputError where `data` lacks what the model trains on, or for a bag.
    """
    labelled = _is_labelled(student, data)
    truth = training_of(student).truth
    record: dict[str, Any] = {"minutes": minutes, "method": METHOD.format(truth, 1 - truth) if labelled else UNLABELLED}
    metadata = {**(notes or {}), "prune_ratio": str(ratio), "recovery": json.dumps(record)}
    examples = {k: v for k, v in {"batch": batch, "seconds": seconds}.items() if v is not None}
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
    if labelled:
        task = _distillation(student, teacher, data, examples)
    else:
        make = training_of(student).unlabelled
        assert make is not None
        task = make(data, student, teacher, seed=seed, **examples)
    task = dataclasses.replace(
        task,
        model=student,
        # a checkpoint that is kept is stored in int8; what is read back from a run that is not has lost nothing
        save=lambda path, model: save_checkpoint(path, model, metadata, "int8" if out else "fp32"),
        learning_rate=2 / 3 * task.learning_rate,
    )
    schedule = Schedule(minutes=minutes, warmup=50, ema=0.995, seed=seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        metrics = train(task, folder, schedule, resume)
        average = load_checkpoint(folder / f"{task.name}.safetensors")
    student.to("cpu").eval().load_state_dict(average.state_dict())
    return record | {"validation": metrics}


def _is_labelled(student: nn.Module, data: Path) -> bool:
    """Whether `data` holds what the kind of network trains on, rather than recordings alone."""
    training = training_of(student)
    return training.unlabelled is None or (data / training.folder / "manifest.json").is_file()


def _distillation(student: nn.Module, teacher: nn.Module, data: Path, examples: Mapping[str, Any]) -> Task:
    training = training_of(student)
    task, target = training.task(data, **examples), training.target
    theirs, ours = (getattr(network.config, "sources", None) for network in (task.model, student))
    if theirs != ours:
        raise InputError(f"{data} has stems of {', '.join(theirs or ())}; give a folder of recordings, without stems")

    def loss(model: nn.Module, example: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            teacher.to(next(iter(example.values())).device)
            taught = training.teach(teacher, example)
        # one run of the student: two losses would take two, to nearly the same minimum
        return task.loss(model, {**example, target: torch.lerp(taught, example[target], training.truth)})

    return dataclasses.replace(task, loss=loss)
