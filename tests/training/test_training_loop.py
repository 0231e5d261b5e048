"""The loop resumes exactly; metrics equal independent formulas; evaluation separates whole songs seamlessly."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edge.checkpoints import save_checkpoint
from edge.errors import EdgeError, InputError
from edge.models.enhancer import Enhancer
from edge.training.loop import Schedule, Task, start_from, train
from edge.training.losses import enhancer_loss, sdr, separation_loss, si_sdr
from edge.training.tasks import enhancer_optimizers


def _task(stop_at: int | None = None, bad: bool = False) -> Task:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))
    calls = [0]

    def batch(rng):
        calls[0] += 1
        if stop_at is not None and calls[0] > stop_at:
            raise KeyboardInterrupt
        x = rng.standard_normal((16, 4)).astype(np.float32)
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(x.sum(1, keepdims=True))}

    def loss(m, b):
        return (m(b["x"]) - b["y"]).square().mean() * (float("nan") if bad else 1)

    return Task(
        "tiny",
        model,
        batch,
        loss,
        lambda m: {"weight": m[0].weight.sum().item()},
        lambda path, m: save_file(m.state_dict(), path),
        learning_rate=0.01,
    )


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    schedule = Schedule(steps=20, warmup=5, save_seconds=0.0)
    train(_task(), tmp_path / "whole", schedule, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(_task(stop_at=7), tmp_path / "halves", schedule, device="cpu")
    train(_task(), tmp_path / "halves", schedule, resume=True, device="cpu")
    whole, halves = (load_file(tmp_path / name / "tiny.safetensors") for name in ("whole", "halves"))
    start = _task().model.state_dict()
    for name, value in whole.items():
        assert torch.equal(value, halves[name]), name
        assert not torch.equal(value, start[name])
    lines = (tmp_path / "halves" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 20


def test_training_lowers_the_loss_and_the_average_is_what_is_saved(tmp_path):
    task = _task()
    train(task, tmp_path, Schedule(steps=300, ema=0.9), device="cpu")
    live, saved = task.model.state_dict(), load_file(tmp_path / "tiny.safetensors")
    assert any(not torch.equal(live[k], saved[k]) for k in saved)
    fresh = _task()
    examples = fresh.batch(np.random.default_rng(5))
    before = fresh.loss(fresh.model.eval(), examples)
    fresh.model.load_state_dict(saved)
    assert fresh.loss(fresh.model, examples) < 0.3 * before


TWO = """
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from edge.training.loop import Schedule, Task, start_from, train


def task(out: Path, halves: int = 1) -> Task:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    step = [0]

    def batch(rng):
        parts = [rng]
        if halves == 2:  # what the two processes draw
            parts = [np.random.default_rng([0, 2 * step[0] + k]) for k in range(2)]
        step[0] += 1
        x = np.concatenate([g.standard_normal((16, 4)).astype(np.float32) for g in parts])
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(x.sum(1, keepdims=True))}

    def loss(m, b):
        return (m(b["x"]) - b["y"]).square().mean()

    return Task("tiny", model, batch, loss, lambda m: {}, lambda p, m: save_file(m.state_dict(), p), 0.01)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(exist_ok=True)
    made = task(out)
    train(made, out, Schedule(steps=12, warmup=2), device="cpu")
    rank = torch.distributed.get_rank()
    save_file(made.model.state_dict(), out / f"live{rank}.safetensors")
"""


def test_two_processes_train_as_one_with_both_their_examples(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(script), str(tmp_path / "run")], check=True, capture_output=True, env=environment)
    first, second = (load_file(tmp_path / "run" / f"live{rank}.safetensors") for rank in (0, 1))
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["step"] == 12

    scope: dict = {"__name__": "two"}
    exec(compile(TWO, str(script), "exec"), scope)
    alone = scope["task"](tmp_path, halves=2)
    train(alone, tmp_path / "alone", Schedule(steps=12, warmup=2), device="cpu")
    for name, value in alone.model.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)


def test_a_run_whose_time_was_up_writes_json_all_the_same(tmp_path):
    train(_task(), tmp_path, Schedule(minutes=1e-9), device="cpu")
    train(_task(), tmp_path, Schedule(minutes=1e-9), resume=True, device="cpu")
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_filterbank_learns_at_a_rate_of_its_own():
    model = Enhancer()
    optimizers = enhancer_optimizers(model, 1e-3)
    rates = {id(p): g["lr"] for o in optimizers for g in o.param_groups for p in g["params"]}
    assert len(rates) == sum(1 for _ in model.parameters())
    of = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert of["analysis.weight"] == of["synthesis.weight"] == pytest.approx(3e-5)
    assert {rate for name, rate in of.items() if not name.startswith(("analysis", "synthesis"))} == {1e-3}


def test_a_run_begins_with_the_weights_of_a_checkpoint(tmp_path):
    trained, fresh = Enhancer(), Enhancer()
    save_checkpoint(tmp_path / "trained.safetensors", trained, precision="fp32")
    start_from(fresh, tmp_path / "trained.safetensors")
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in trained.state_dict().items())
    with pytest.raises(InputError, match="another network"):
        start_from(nn.Linear(2, 2), tmp_path / "trained.safetensors")


def test_refusals(tmp_path):
    schedule = Schedule(steps=1)
    with pytest.raises(InputError, match="nothing to resume"):
        train(_task(), tmp_path / "new", schedule, resume=True, device="cpu")
    train(_task(), tmp_path / "run", schedule, device="cpu")
    with pytest.raises(InputError, match="--resume"):
        train(_task(), tmp_path / "run", schedule, device="cpu")
    with pytest.raises(InputError, match="either"):
        train(_task(), tmp_path / "x", Schedule(), device="cpu")
    for steps, save_seconds in ((1, 120), (100, 0), (100, 120)):
        with pytest.raises(EdgeError, match="loss is nan by step"):
            train(_task(bad=True), tmp_path / "nan", Schedule(steps=steps, save_seconds=save_seconds), device="cpu")
        assert not (tmp_path / "nan").exists()  # nothing that is no number was saved


def test_metrics_equal_independent_formulas():
    rng = np.random.default_rng(4)
    reference = rng.standard_normal(3000)
    estimate = 0.6 * reference + 0.2 * rng.standard_normal(3000) + 0.05
    a, b = torch.from_numpy(estimate), torch.from_numpy(reference)
    assert sdr(a, b).item() == pytest.approx(-20 * np.log10(np.linalg.norm(a - b) / np.linalg.norm(b)), abs=1e-5)
    # SI-SDR from the correlation coefficient: rho^2 / (1 - rho^2)
    rho2 = np.corrcoef(estimate, reference)[0, 1] ** 2
    assert si_sdr(a, b).item() == pytest.approx(10 * np.log10(rho2 / (1 - rho2)), abs=1e-5)
    assert si_sdr(7 * a, b).item() == pytest.approx(si_sdr(a, b).item(), abs=1e-6)


def test_losses_are_least_at_the_target_and_have_gradients_in_silence():
    torch.manual_seed(1)
    clean, noise = torch.randn(2, 8000) * 0.1, torch.randn(2, 8000) * 0.1
    values = [enhancer_loss(clean + k * noise, clean, clean + noise).item() for k in (0.0, 0.1, 1.0)]
    assert values == sorted(values)
    stems = torch.randn(1, 4, 2, 8000)
    stems[:, 3] = 0
    estimate = torch.zeros_like(stems, requires_grad=True)
    separation_loss(estimate, stems).backward()
    assert torch.isfinite(estimate.grad).all()
    assert separation_loss(stems, stems) < separation_loss(estimate, stems)
