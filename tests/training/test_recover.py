"""Recovery: the pruned student learns, the teacher stays, the run can be resumed and its checkpoint loads."""

import copy
import dataclasses
import json
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from edge import samples
from edge.benchmarks.compression import stemless
from edge.checkpoints import checkpoint_metadata, load_checkpoint
from edge.compression.prune import prune
from edge.errors import InputError
from edge.models.bag import Bag
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.training import recover as recovery
from edge.training.architectures import TRAINING
from edge.training.loop import Schedule, Task
from edge.training.mixtures import mixture_task, split, taught
from edge.training.shards import Item, open_shard, write_manifest, write_shard
from edge.zoo import Model


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

    with torch.no_grad():  # between the target and the teacher
        output, taught = student.enhance(audio), teacher.enhance(audio)
        expected = 100 * (output - (3 * clean + taught) / 4).square().mean()
        task = recovery._distillation(student, teacher, tmp_path, {"batch": 3})
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


SMALL = dict(channels=4, bottom_channels=16, t_layers=1, t_heads=2, dconv_comp=2, segment=Fraction(1, 2))


@pytest.fixture
def folder(tmp_path):
    """Recordings of other rates and channel counts, and what is none."""
    song = samples.song()[0].T[: 6 * 44100]
    place = tmp_path / "my music"
    (place / "more").mkdir(parents=True)
    soundfile.write(place / "a.wav", song, 44100)
    soundfile.write(place / "more" / "b.flac", song[: 5 * 44100 : 2, :1] * 0.5, 22050)
    soundfile.write(place / "short.wav", song[:100], 44100)
    (place / "broken.wav").write_bytes(b"RIFF")
    (place / "cover.jpg").write_bytes(b"no audio")
    return place


def small(sources=("bass", "rest"), seed=0, **over) -> HTDemucs:
    torch.manual_seed(seed)
    return HTDemucs(HTDemucsConfig(sources=sources, **{**SMALL, **over})).eval()


@pytest.mark.parametrize("over", [{}, {"samplerate": 48000, "audio_channels": 1}])
def test_recovery_on_recordings_alone(folder, monkeypatch, tmp_path, over):
    """A student that differs from its teacher comes nearer to it on what it was not trained on."""
    monkeypatch.setattr(recovery, "Schedule", lambda **_: Schedule(steps=25, warmup=3, ema=0.8))
    teacher = small(**over)
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for value in student.parameters():
            value += 0.1 * value.std(correction=0) * torch.randn_like(value)
    validate = mixture_task(folder, student, teacher).validate
    before = validate(student)
    assert "sdr_db" in before and set(before) <= {"sdr_db", "sdr_bass_db", "sdr_rest_db"}  # none of a silent source
    record = recovery.recover(student, teacher, folder, 0.1, 0.5, seconds=0.5, out=tmp_path / "run")
    assert record["method"] == recovery.UNLABELLED and validate(student)["sdr_db"] > before["sdr_db"] + 0.5
    assert validate(teacher)["sdr_db"] > 70


def test_remixes_are_sums_of_the_teachers_stems(folder):
    teacher = small()
    task = mixture_task(folder, small(), teacher, batch=4)
    example = task.batch(np.random.default_rng(0))
    assert example["plain"].any() and not example["plain"].all()
    with torch.no_grad():
        mix, stems = taught(teacher, example)
        plain = example["plain"]
        assert torch.equal(mix[plain], example["mix"][plain])
        assert torch.equal(stems[plain], teacher(example["mix"])[plain])
        torch.testing.assert_close(mix[~plain], stems[~plain].sum(1))
        assert not torch.allclose(mix[~plain], example["mix"][~plain])


def test_one_song_is_trained_on_and_held_out():
    song = np.arange(100, dtype=np.int16)[None]
    train, held_out = split([song], 20)
    assert [part.shape[1] for part in train + held_out] == [80, 20] and held_out[0][0, 0] == 80


def test_recordings_that_teach_nothing_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no recordings"):
        recovery.recover(small(), small(), tmp_path / "nothing", 1, 0.5)
    with pytest.raises(InputError, match=r"shorter than 20\.0 s"):
        mixture_task(folder, small(), small(), seconds=20)


def test_a_bag_is_refused(tmp_path):
    config = HTDemucsConfig(sources=("a",), channels=4, bottom_channels=16, t_layers=1, t_heads=2, dconv_comp=2)
    bag = Bag([HTDemucs(config)])
    with pytest.raises(InputError, match="one by one"):
        recovery.recover(bag, bag, tmp_path, 1, 0.5)


def test_what_recovery_is_worth_without_stems_is_measured_on_true_stems(monkeypatch, tmp_path, capsys):
    """Both recoveries get the same start, minutes and songs; what is told is what the validation's figures give."""
    items, rng = [], np.random.default_rng(0)
    for part in ("train", "train", "validation"):
        name = f"song-{len(items)}"
        file = write_shard(tmp_path / "music", name, 0.1 * rng.standard_normal((4, 2, 10 * 44100)).astype(np.float32))
        items.append(Item(file, "song", part, name, "made", "1", "CC0", 10.0))
    write_manifest(tmp_path / "music", "music", 44100, items)
    network, asked, started = small(samples.STEMS, seed=1), [], []
    monkeypatch.setattr(stemless, "load_model", lambda name: Model(name, network, "MIT", "none"))

    def few(student, teacher, data, minutes, ratio, seed):
        asked.append((minutes, ratio, seed, recovery._is_labelled(student, data)))
        started.append(copy.deepcopy(student.state_dict()))
        if len(asked) == 2:
            mixtures = sorted(data.iterdir())
            expected = (open_shard(tmp_path / "music", items[1]) / 65536).sum(axis=0)
            assert len(mixtures) == 2
            np.testing.assert_allclose(soundfile.read(mixtures[1])[0].T, expected, atol=1e-5)
        with torch.no_grad():  # the first goes twice as far as the second
            for value, aim in zip(student.parameters(), teacher.parameters(), strict=True):
                value += (aim - value) / len(asked)
        return {}

    monkeypatch.setattr(stemless, "recover", few)
    monkeypatch.setattr(stemless, "prune", lambda network, ratio: SimpleNamespace(model=small(samples.STEMS)))
    assert stemless.main(["--data", str(tmp_path), "--minutes", "2", "--json", str(tmp_path / "told.json")]) == 0
    assert asked == [(2, 0.5, 0, True), (2, 0.5, 0, False)]
    assert all(torch.equal(value, started[1][name]) for name, value in started[0].items())
    told = json.loads((tmp_path / "told.json").read_text())
    figures = [values["sdr_gain_db"] for values in told["validation"].values()]
    whole, start, way, alone = figures
    assert way == pytest.approx(whole, abs=1e-4) and alone != pytest.approx(whole, abs=0.01)
    assert told["share"] == pytest.approx((alone - start) / (way - start))
    assert f"{100 * told['share']:.0f} % of the way" in capsys.readouterr().out
