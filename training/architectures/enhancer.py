"""How the enhancer is trained."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edge.training.architectures.record import Training
from edge.training.tasks import enhancer_task


def teach(teacher: Any, example: dict[str, Tensor]) -> Tensor:
    return teacher.enhance(example["noisy"])


# between half and all of it: after a quarter of an hour the truth alone had 0.015 PESQ more and 0.09 dB less than half
ENHANCER = Training(enhancer_task, "clean", teach, "si_sdr_gain_db", "speech", truth=0.75)
