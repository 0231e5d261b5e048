"""Speech data carried in pieces: what arrives is what was sent, as Opus renders it."""

import numpy as np
import pytest

from edge.errors import InputError
from edge.training import rooms, shards
from edge.training.pieces import LONGEST, pack, unpack

RATE = 16000


def voiced(seconds: float, seed: int) -> np.ndarray:
    """A buzz that swells: something that a waveform coder keeps."""
    t = np.arange(int(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    tone = sum(np.sin(2 * np.pi * 130 * k * t + rng.uniform(0, 6)) / k for k in range(1, 12))
    return 0.1 * tone * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))


@pytest.fixture
def data(tmp_path):
    items = []
    for i, (kind, split, seconds) in enumerate(
        [("speech", "train", 12), ("speech", "validation", 3), ("noise", "train", 5), ("speech", "test", 2)]
    ):
        file = shards.write_shard(tmp_path / "data/speech", f"{kind}-{i}", voiced(seconds, i))
        items.append(shards.Item(file, kind, split, f"g{i}", "made", "1", "CC0", seconds))
    shards.write_manifest(tmp_path / "data/speech", "speech", RATE, items)
    rng = np.random.default_rng(0)
    decay = np.exp(-np.arange(rooms.LENGTH) / 1600) * 0.3
    whole = [np.concatenate([[1.0], 0.5 * d[1:]]) for d in rng.normal(size=(20, rooms.LENGTH)).clip(-2, 2) * decay]
    np.save(tmp_path / "data/rooms.npy", np.stack([rooms.split_direct(w) for w in whole]).astype(np.float16))
    return tmp_path / "data"


def test_what_arrives_is_what_was_sent(data, tmp_path):
    pieces = pack(data, tmp_path / "pieces", megabytes=0.32)
    assert [p.name for p in pieces] == ["piece-1", "piece-2"]
    assert all(sum(f.stat().st_size for f in p.glob("*.*g")) <= 0.32e6 for p in pieces)
    assert all(sum(f.stat().st_size for f in p.iterdir()) < 0.33e6 for p in pieces)
    unpack(pieces[::-1], tmp_path / "there")

    sent = {i.file: i for i in shards.read_manifest(data / "speech")}
    arrived = {i.file: i for i in shards.read_manifest(tmp_path / "there/speech")}
    assert arrived == {k: i for k, i in sent.items() if i.split != "test"}  # the test split stays at home
    for file, item in arrived.items():
        before = shards.open_shard(data / "speech", item).astype(float)
        after = shards.open_shard(tmp_path / "there/speech", item).astype(float)
        assert len(after) == len(before), file
        assert 10 * np.log10(np.sum(before**2) / np.sum((before - after) ** 2)) > 12, file
    for split in ("train", "validation"):
        before, after = (rooms.load_rooms(folder, split) for folder in (data, tmp_path / "there"))
        np.testing.assert_allclose(after, before, atol=2e-3)


def test_a_long_voice_is_cut(data, tmp_path, monkeypatch):
    monkeypatch.setitem(LONGEST, "speech", 4.0)
    unpack(pack(data, tmp_path / "pieces"), tmp_path / "there")
    items = shards.read_manifest(tmp_path / "there/speech")
    assert sorted(i.seconds for i in items) == [3, 4, 5]
    assert sorted(len(shards.open_shard(tmp_path / "there/speech", i)) / RATE for i in items) == [3, 4, 5]


def test_refusals_say_why_and_leave_nothing(data, tmp_path):
    pieces = pack(data, tmp_path / "pieces", megabytes=0.32)
    with pytest.raises(InputError, match="already exists"):
        pack(data, tmp_path / "pieces")
    with pytest.raises(InputError, match="alone is larger than"):
        pack(data, tmp_path / "small", megabytes=0.001)
    assert not (tmp_path / "small").exists()
    with pytest.raises(InputError, match="already exists"):
        unpack(pieces, data)
    next(pieces[0].glob("*.ogg")).write_bytes(b"OggS")
    with pytest.raises(InputError, match="missing or damaged"):
        unpack(pieces, tmp_path / "there")
    assert not (tmp_path / "there/speech").exists()
    with pytest.raises(InputError, match="not found"):
        unpack([tmp_path], tmp_path / "elsewhere")
