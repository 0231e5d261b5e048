"""How HT Demucs is trained."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edge.training.architectures.record import Training
from edge.training.mixtures import mixture_task
from edge.training.tasks import separator_task


def teach(teacher: Any, example: dict[str, Tensor]) -> Tensor:
    return teacher(example["mix"])


HTDEMUCS = Training(separator_task, "stems", teach, "sdr_gain_db", "music", mixture_task)
