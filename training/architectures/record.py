"""What training knows of a kind of network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edge.training.loop import Task


@dataclass(frozen=True)
class Training:
    """How a kind of network is trained; its kind is that of edge.models.architectures.

    task(data, **examples): the task on what `edge-train data` wrote; examples: `batch`, `seconds`, where not its own.
    target: name of what the task's examples aim at. teach(teacher, example): what the unpruned network makes of the
    same input, in the shape of the target. folder: of the data that the task needs, within `data`. unlabelled(folder,
    student, teacher, **examples): the task of recovery on recordings alone; None where there is none. truth: its share
    of what a pruned network aims at, beside its teacher's output.
    """

    task: Callable[..., Task]
    target: str
    teach: Callable[[Any, dict[str, Tensor]], Tensor]
    metric: str  # of the task's validation that decides
    folder: str = ""
    unlabelled: Callable[..., Task] | None = None
    truth: float = 0.5
