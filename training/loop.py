"""One training loop for every task: EMA weights, atomic checkpoints, exact resumption, one progress line."""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from edge.atomic import atomic_path
from edge.checkpoints import load_checkpoint
from edge.errors import EdgeError, InputError

LONGEST_STEP = 20.0  # seconds: a process that was paused did not train meanwhile
LOOK = 20  # steps between two looks at the loss: each one makes an accelerator wait


def adamw(model: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """All parameters in one AdamW."""
    return [torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-4, betas=(0.9, 0.98))]


@dataclass(frozen=True)
class Task:
    """What is trained. `batch` depends on its generator alone, so a resumed run sees the same examples."""

    name: str
    model: nn.Module
    batch: Callable[[np.random.Generator], dict[str, Tensor]]
    loss: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    validate: Callable[[nn.Module], dict[str, float]]
    save: Callable[[Path, nn.Module], None]
    learning_rate: float = 1e-3
    bf16: bool = False
    optimizers: Callable[[nn.Module, float], list[torch.optim.Optimizer]] = adamw
    audio: float = 0.0  # seconds of a batch


@dataclass(frozen=True)
class Schedule:
    """How long and how often. Give `minutes` of training time (over all resumptions) or `steps`."""

    minutes: float | None = None
    steps: int | None = None
    warmup: int = 100
    save_seconds: float = 120.0
    validate_seconds: float = 600.0
    ema: float = 0.999
    seed: int = 0

    def progress(self, step: int, seconds: float) -> float:
        """Share of the training that is done, 0 to 1."""
        if self.steps is not None:
            return min(step / max(self.steps, 1), 1.0)
        return min(seconds / (60 * (self.minutes or 1e-9)), 1.0)


def train(task: Task, out: Path, schedule: Schedule, resume: bool = False, device: str = "auto") -> dict[str, float]:
    """Train `task`, writing `out/state.pt` (to resume) and `out/NAME.safetensors` (EMA weights).

    A run given in steps and resumed at any step ends with the same weights as an uninterrupted one.
    Under `torchrun` each process draws its own examples and the gradients are averaged; the first one writes.
    Returns the last validation metrics (of the first process). Raises InputError when `out` holds a run and `resume` is
    false, or the other way round; EdgeError when the loss is no longer finite.
    """
    if (schedule.minutes is None) == (schedule.steps is None):
        raise InputError("give either --minutes or --steps")
    state_path = out / "state.pt"
    if state_path.exists() and not resume:
        raise InputError(f"{out} already holds a run: add --resume, or choose another folder")
    _keep_memory()
    torch.set_float32_matmul_precision("high")  # TF32 where an accelerator has it, nothing on a CPU
    rank, processes, device = _join(device)
    model = task.model.to(device).train()
    average = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
    optimizers = task.optimizers(model, task.learning_rate)
    shares = [[group["lr"] / task.learning_rate for group in o.param_groups] for o in optimizers]
    step, seconds = 0, 0.0
    if resume:
        step, seconds = _load(state_path, model, average, optimizers)
    last, last_save, last_validation = time.monotonic(), seconds, seconds
    first, began = step, seconds
    bar = tqdm(desc=task.name, unit="step", initial=step, total=schedule.steps, disable=rank > 0)
    smooth: Tensor | None = None
    shown = math.nan
    while schedule.progress(step, seconds) < 1:
        lr = _learning_rate(task.learning_rate, step, schedule, schedule.progress(step, seconds))
        for optimizer, of_groups in zip(optimizers, shares, strict=True):
            for group, share in zip(optimizer.param_groups, of_groups, strict=True):
                group["lr"] = lr * share
        torch.manual_seed(schedule.seed + step)  # any dropout repeats too
        generator = np.random.default_rng([schedule.seed, step * processes + rank])
        batch = {k: v.to(device) for k, v in task.batch(generator).items()}
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=task.bf16 and _has_bf16(device)):
            loss = task.loss(model, batch)
        model.zero_grad(set_to_none=True)
        loss.backward()
        now = time.monotonic()
        seconds, last = seconds + min(now - last, LONGEST_STEP), now
        if processes > 1:
            seconds = _agree(model, seconds, device)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        _update_average(average, model, min(schedule.ema, (1 + step) / (10 + step)))
        smooth = loss.detach() if smooth is None else torch.lerp(smooth, loss.detach(), 0.02)
        save = rank == 0 and seconds - last_save > schedule.save_seconds
        done = schedule.progress(step, seconds) >= 1
        if save or done or step % LOOK == 0:
            shown = smooth.item()
            if not math.isfinite(shown):
                raise EdgeError(f"the loss is {shown} by step {step}; resume from {state_path} with a lower --lr")
            speed = task.audio * processes * (step - first) / max(seconds - began, 1e-9)
            told = f"loss {shown:.4f} lr {lr:.1e} {seconds / 60:.1f} min, {speed:.0f} s of audio a second"
            bar.set_postfix_str(told, refresh=False)
        bar.update()
        if save:
            last_save = seconds
            _save(task, out, model, average, optimizers, step, seconds)
        if rank == 0 and seconds - last_validation > schedule.validate_seconds:
            last_validation = seconds
            _validate(task, out, model, average, step, seconds, shown)
            last = time.monotonic()
    bar.close()
    if rank > 0:
        return {}
    _save(task, out, model, average, optimizers, step, seconds)
    return _validate(task, out, model, average, step, seconds, shown)


def start_from(model: nn.Module, checkpoint: Path) -> None:
    """Load the weights of `checkpoint` into `model`. Raises InputError when they are of other sizes."""
    try:
        model.load_state_dict(load_checkpoint(checkpoint).state_dict())
    except RuntimeError as error:
        raise InputError(f"{checkpoint} is of another network, or of other sizes, than the one to train") from error


def chosen(device: str) -> str:
    """The device that "auto" stands for."""
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _join(device: str) -> tuple[int, int, str]:
    """Rank, number of processes and device: one process alone, or as `torchrun` says in the environment."""
    device = chosen(device)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes == 1:
        return 0, 1, device
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    return dist.get_rank(), processes, device


def _agree(model: nn.Module, seconds: float, device: str) -> float:
    """Average the gradients (and the norms' statistics) over all processes; returns the time of the first one."""
    parts = [p.grad for p in model.parameters() if p.grad is not None]
    parts += [b for b in model.buffers() if b.is_floating_point()]
    clock = torch.tensor([seconds if dist.get_rank() == 0 else 0.0], device=device)
    flat = torch.cat([*(part.reshape(-1) for part in parts), clock])
    dist.all_reduce(flat)
    mean = flat / dist.get_world_size()
    for part, values in zip(parts, mean[:-1].split([part.numel() for part in parts]), strict=True):
        part.copy_(values.view_as(part))
    return float(flat[-1])


def _keep_memory() -> None:
    """Let glibc keep freed memory: giving large buffers back and faulting them in again costs a sixth of a step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # not in musl
            libc.mallopt(-4, 0)  # M_MMAP_MAX
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def _has_bf16(device: str) -> bool:
    """Whether bf16 matrix arithmetic is in the hardware (AVX512 alone gained nothing over fp32 here)."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _learning_rate(peak: float, step: int, schedule: Schedule, progress: float) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak."""
    return peak * min(1.0, (step + 1) / max(schedule.warmup, 1)) * (0.51 + 0.49 * math.cos(math.pi * progress))


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    state = model.state_dict()
    torch._foreach_lerp_([average[name] for name in state], [value.float() for value in state.values()], 1 - decay)


def _save(task, out: Path, model, average, optimizers, step: int, seconds: float) -> None:
    content = {"model": model.state_dict(), "average": average, "optimizers": [o.state_dict() for o in optimizers]}
    with atomic_path(out / "state.pt") as path:
        torch.save(content | {"step": step, "seconds": seconds}, path)
    with _averaged(model, average):
        task.save(out / f"{task.name}.safetensors", model)


def _load(path: Path, model: nn.Module, average: dict[str, Tensor], optimizers) -> tuple[int, float]:
    if not path.is_file():
        raise InputError(f"{path} not found: nothing to resume (start without --resume)")
    content = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise InputError(f"{path} is of another network than this version's: start a new run") from error
    for optimizer, state in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    for name, value in content["average"].items():
        average[name].copy_(value)
    return content["step"], content["seconds"]


class _averaged:
    """Context in which `model` has the averaged weights and is in eval mode."""

    def __init__(self, model: nn.Module, average: dict[str, Tensor]):
        self.model, self.average = model, average

    def __enter__(self) -> None:
        self.live = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()

    def __exit__(self, *_) -> None:
        self.model.load_state_dict(self.live)
        self.model.train()


def _validate(task, out: Path, model, average, step: int, seconds: float, loss: float) -> dict[str, float]:
    with _averaged(model, average), torch.no_grad():
        metrics = task.validate(model)
    line = {"step": step, "minutes": round(seconds / 60, 2)}
    line |= {} if math.isnan(loss) else {"loss": round(loss, 5)}  # none yet where a resumed run was over already
    line |= {k: round(v, 3) for k, v in metrics.items()}
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    tqdm.write(json.dumps(line))
    return metrics
