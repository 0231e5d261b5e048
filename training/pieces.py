"""Speech data in small pieces, to carry it to another machine: Opus recordings, FLAC room responses, a manifest each.

PIECE/manifest.json   as a data folder's (see `shards`), with the recordings of this piece
PIECE/*.ogg           Opus, 16 kHz
PIECE/rooms.flac      responses one after the other; the direct paths are made again from them
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from edge.errors import InputError
from edge.training import rooms
from edge.training.rooms import RATE
from edge.training.shards import SCALE, Item, open_shard, read_manifest, write_manifest, write_shard

MEGABYTE = 1_000_000
LONGEST = {"speech": 200.0, "noise": 120.0}  # seconds of a voice or a noise; more of one is drawn no more often
ROOMS = "rooms.flac"
RESPONSES = 1024  # of the rooms, evenly chosen


def pack(data: Path, out: Path, kbps: float = 28, megabytes: float = 45) -> list[Path]:
    """Write the train and validation recordings of `data`/speech, and rooms, as pieces of at most `megabytes`.

    Returns the pieces' folders, `out`/piece-1 and on. Raises InputError where `out` exists, or `data` holds no speech.
    """
    items = [i for i in read_manifest(data / "speech") if i.split != "test"]
    if out.exists():
        raise InputError(f"{out} already exists: choose another folder")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        coded = pool.map(lambda item: _encode(data / "speech", item, kbps), items)
        files = {_coded_name(i): c for i, c in zip(items, tqdm(coded, desc="pack", total=len(items)), strict=True)}
    by_name = {_coded_name(i): replace(i, seconds=min(i.seconds, LONGEST[i.kind])) for i in items}
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    filled = _fill(_responses(data) | files, megabytes * MEGABYTE)
    for number, names in enumerate(filled, 1):
        folder = partial / f"piece-{number}"
        folder.mkdir(parents=True)
        for name, content in names.items():
            (folder / name).write_bytes(content)
        write_manifest(folder, "speech", RATE, [by_name[name] for name in names if name in by_name])
    partial.rename(out)
    return [out / f"piece-{number}" for number in range(1, len(filled) + 1)]


def _fill(files: dict[str, bytes], limit: float) -> list[dict[str, bytes]]:
    """Files in as few pieces as their order gives: each goes into the first that has room."""
    pieces: list[dict[str, bytes]] = []
    for name, content in files.items():
        if len(content) > limit:
            raise InputError(f"{name} alone is larger than {limit / MEGABYTE:g} MB")
        for piece in pieces:
            if sum(map(len, piece.values())) + len(content) <= limit:
                piece[name] = content
                break
        else:
            pieces.append({name: content})
    return pieces


def unpack(pieces: Sequence[Path], out: Path) -> None:
    """Make the data folder `out` from all pieces. Raises InputError where one is none, or `out` holds speech."""
    folder = out / "speech"
    if folder.exists():
        raise InputError(f"{folder} already exists: choose another folder")
    held = [(piece, item) for piece in pieces for item in read_manifest(piece)]
    partial = out / "speech.part"
    shutil.rmtree(partial, ignore_errors=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(tqdm(pool.map(lambda pair: _decode(pair[0], pair[1], partial), held), desc="unpack", total=len(held)))
    for piece in pieces:
        if (piece / ROOMS).is_file():
            audio, _ = soundfile.read(piece / ROOMS, dtype="float32")
            whole = audio.reshape(-1, rooms.LENGTH)
            np.save(out / "rooms.npy", np.stack([*map(rooms.split_direct, whole)]).astype(np.float16))
    write_manifest(partial, "speech", RATE, [item for _, item in held])
    partial.rename(folder)


def _coded_name(item: Item) -> str:
    return Path(item.file).with_suffix(".ogg").name


def _encode(folder: Path, item: Item, kbps: float) -> bytes:
    import av  # only to write; soundfile's own Opus is ten times slower

    audio = open_shard(folder, item)[: int(LONGEST[item.kind] * RATE)]
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono")
        # the waveform coder alone: the other one models speech, and is trained on as what speech sounds like
        stream.bit_rate, stream.options = int(kbps * 1000), {"application": "lowdelay"}
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        for packets in (stream.encode(frame), stream.encode(None)):
            container.mux(packets)
    return out.getvalue()


def _decode(piece: Path, item: Item, out: Path) -> None:
    try:
        audio, _ = soundfile.read(piece / _coded_name(item), dtype="float32")
    except soundfile.SoundFileError as error:
        raise InputError(f"{piece / _coded_name(item)} is missing or damaged: pack the data again") from error
    write_shard(out, Path(item.file).stem, audio)


def _responses(data: Path) -> dict[str, bytes]:
    """FLAC of some of the rooms' whole responses, in their order; nothing where there are none."""
    path = data / "rooms.npy"
    if not path.is_file():
        return {}
    bank = np.load(path, mmap_mode="r", allow_pickle=False)
    chosen = np.unique(np.linspace(0, len(bank) - 1, min(RESPONSES, len(bank))).astype(int))
    audio = np.concatenate([bank[i, 0] for i in chosen]).astype(np.float32)
    out = io.BytesIO()
    soundfile.write(out, np.clip(audio, -1, 1 - 1 / SCALE), RATE, format="FLAC", subtype="PCM_16")
    return {ROOMS: out.getvalue()}
