"""The loop resumes exactly; metrics equal independent formulas; evaluation separates whole songs seamlessly."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edge.errors import EdgeError, InputError
from edge.training.loop import Schedule, Task, train
from edge.training.losses import enhancer_loss, sdr, separation_loss, si_sdr


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


def test_refusals(tmp_path):
    schedule = Schedule(steps=1)
    with pytest.raises(InputError, match="nothing to resume"):
        train(_task(), tmp_path / "new", schedule, resume=True, device="cpu")
    train(_task(), tmp_path / "run", schedule, device="cpu")
    with pytest.raises(InputError, match="--resume"):
        train(_task(), tmp_path / "run", schedule, device="cpu")
    with pytest.raises(InputError, match="either"):
        train(_task(), tmp_path / "x", Schedule(), device="cpu")
    with pytest.raises(EdgeError, match="loss is nan at step 0"):
        train(_task(bad=True), tmp_path / "nan", schedule, device="cpu")


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
