"""Recovery: the pruned student learns, the teacher stays, the run can be resumed and its checkpoint loads."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from edge.checkpoints import checkpoint_metadata, load_checkpoint
from edge.compression.prune import prune
from edge.errors import InputError
from edge.models.bag import Bag
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.training import recover as recovery
from edge.training.architectures import TRAINING
from edge.training.loop import Schedule, Task


@pytest.fixture
def tiny_task(monkeypatch):
    def make(data, batch=2):
        def draw(rng):
            clean = torch.from_numpy(rng.standard_normal((batch, 1920)).astype("float32")) * 0.1
            return {"noisy": clean + 0.05 * torch.randn_like(clean), "clean": clean}

        def loss(model, example):
            return (model.enhance(example["noisy"]) - example["clean"]).square().mean() * 100

        return Task("enhancer", Enhancer(), draw, loss, lambda model: {"gain": 1.0}, lambda path, model: None)

    monkeypatch.setitem(TRAINING, "enhancer", dataclasses.replace(TRAINING["enhancer"], task=make))
    # steps instead of minutes: the same training on any machine
    monkeypatch.setattr(recovery, "Schedule", lambda **_: Schedule(steps=40, warmup=5, ema=0.9))


def test_student_learns_and_teacher_stays(tiny_task, tmp_path):
    torch.manual_seed(0)
    teacher = Enhancer().eval()
    before = copy.deepcopy(teacher.state_dict())
    student = prune(teacher, 0.5).model
    generator = torch.Generator().manual_seed(1)
    clean = torch.randn(1, 1920, generator=generator) * 0.1
    audio = clean + 0.05 * torch.randn(1, 1920, generator=generator)

    with torch.no_grad():  # half way between the target and the teacher
        output, taught = student.enhance(audio), teacher.enhance(audio)
        expected = 100 * (output - (clean + taught) / 2).square().mean()
        task = recovery._distillation(student, teacher, tmp_path, {}, {"batch": 3}, "int8")
        assert len(task.batch(np.random.default_rng(0))["clean"]) == 3
        assert torch.allclose(task.loss(student, {"noisy": audio, "clean": clean}), expected)
    record = recovery.recover(student, teacher, tmp_path, 0.03, 0.5, out=tmp_path / "run", notes={"origin": "test"})
    assert record["minutes"] == 0.03 and record["validation"] == {"gain": 1.0}
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    saved = load_checkpoint(tmp_path / "run" / "enhancer.safetensors")
    with torch.inference_mode():
        assert torch.equal(saved.enhance(audio), student.enhance(audio))
        assert not torch.equal(student.enhance(audio), output)
    metadata = checkpoint_metadata(tmp_path / "run" / "enhancer.safetensors")
    assert metadata["prune_ratio"] == "0.5" and metadata["origin"] == "test"
    with pytest.raises(InputError, match="resume"):
        recovery.recover(student, teacher, tmp_path, 0.03, 0.5, out=tmp_path / "run")
    recovery.recover(prune(teacher, 0.5).model, teacher, tmp_path, 0.05, 0.5, out=tmp_path / "run", resume=True)


def test_a_bag_is_refused(tmp_path):
    config = HTDemucsConfig(sources=("a",), channels=4, bottom_channels=16, t_layers=1, t_heads=2, dconv_comp=2)
    bag = Bag([HTDemucs(config)])
    with pytest.raises(InputError, match="one by one"):
        recovery.recover(bag, bag, tmp_path, 1, 0.5)
