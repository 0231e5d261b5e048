"""Recovery after pruning: a short training of the small network on data, taught by the unpruned one."""

import copy
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from edge.checkpoints import load_checkpoint
from edge.errors import InputError
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs
from edge.training.loop import Schedule, train
from edge.training.tasks import enhancer_task, separator_task


def recover(student: nn.Module, teacher: nn.Module, data: Path, minutes: float, seed: int = 0) -> dict[str, Any]:
    """Train `student` in place for `minutes` on the folder that `edge-train data` writes; returns its record.

    The loss is the training loss against the true target and against the teacher's output, half each.
    Raises InputError where `data` lacks what the model trains on, or for a bag of models.
    """
    if isinstance(student, Enhancer):
        task, key = enhancer_task(data), "clean"
    elif isinstance(student, HTDemucs):
        task, key = separator_task(data), "stems"
    else:
        raise InputError("recovery of a bag of models is not supported; recover its members one by one")
    target_loss = task.loss
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)

    def taught(example: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            if isinstance(teacher, Enhancer):
                return teacher.enhance(example["noisy"])
            return cast(Tensor, teacher(example["mix"]))

    def loss(model: nn.Module, example: dict[str, Tensor]) -> Tensor:
        teacher.to(next(iter(example.values())).device)
        return (target_loss(model, example) + target_loss(model, {**example, key: taught(example)})) / 2

    distilled = dataclasses.replace(task, model=student, loss=loss, learning_rate=1e-3)
    # the pruned widths must survive the training loop's checkpoint
    notes = {"prune_ratio": "as trained"}

    def save(path: Path, model: nn.Module) -> None:
        from edge.checkpoints import save_checkpoint

        save_checkpoint(path, model, notes)

    distilled = dataclasses.replace(distilled, save=save)
    with tempfile.TemporaryDirectory() as folder:
        metrics = train(distilled, Path(folder), Schedule(minutes=minutes, warmup=50, ema=0.99, seed=seed))
        best = load_checkpoint(Path(folder) / f"{task.name}.safetensors")
    student.load_state_dict(best.state_dict())
    student.eval().to("cpu")
    return {"minutes": minutes, "method": "distillation from the unpruned network", "validation": metrics}
