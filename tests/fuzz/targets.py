"""Functions of bytes that may raise nothing but the project's own errors, and seeds to start from."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeError


@dataclass(frozen=True)
class Target:
    """run: takes any bytes; seeds: makes valid inputs; modules: whose branches guide the fuzzer."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...]


def _file(data: bytes, suffix: str) -> Path:
    folder = Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir())
    path = folder / f"stem-edge-fuzz-{os.getpid()}{suffix}"
    path.write_bytes(data)
    return path


def checkpoint(data: bytes) -> None:
    from edge.checkpoints import load_any

    path = _file(data, ".th")
    try:
        load_any(path)
    except EdgeError:
        pass
    finally:
        path.unlink()


def checkpoint_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    state = {"tencoder.0.conv.weight": torch.zeros(2, 2, 8), "freq_emb.embedding.weight": torch.zeros(4, 2)}
    contents = [state, {"state": state, "kwargs": {"sources": ["a"], "channels": 2}, "klass": dict}, {"ema": state}]
    seeds = [save(state, {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": '{"sources": ["a"]}'})]
    seeds += [save(state, {"model": "htdemucs", "config": '{"channels": 2}'})]
    for content in contents:
        for legacy in (False, True):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
            seeds.append(buffer.getvalue())
    return seeds


def bundle(data: bytes) -> None:
    """A manifest, and the same bytes as a zipped bundle."""
    from edge.bundle import open_bundle
    from edge.manifest import parse_manifest

    with contextlib.suppress(EdgeError):
        parse_manifest(data.decode("utf-8", "replace"), "fuzz")
    path = _file(data, ".edge")
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            open_bundle(path)
    except EdgeError:
        pass
    finally:
        path.unlink()


def bundle_seeds() -> list[bytes]:
    from conftest import make_bundle

    with tempfile.TemporaryDirectory() as folder:
        seeds = []
        for task in ("separate", "enhance"):
            made = make_bundle(Path(folder) / f"{task}.edge", task, segment=441)
            seeds.append(made.read_bytes())
            plain = make_bundle(Path(folder) / task, task, segment=441)
            seeds.append((plain / "manifest.json").read_bytes())
        return seeds


def pipe(data: bytes) -> None:
    """A WAV on a pipe: its header and all of its samples."""
    from edge.runtime import pipes

    stream = io.BytesIO(data)
    with contextlib.suppress(EdgeError):
        given = pipes.read_wav_header(stream)
        frames = sum(len(block) for block in pipes._blocks(stream, given, []))
        assert frames * given.frame_bytes <= len(data)


def pipe_seeds() -> list[bytes]:
    seeds = []
    for code, bits in ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (0xFFFE, 16)):
        form = struct.pack("<HHIIHH", code, 2, 44100, 44100 * bits // 4, bits // 4, bits)
        if code == 0xFFFE:
            form += struct.pack("<HHIH", 22, bits, 3, 1) + bytes(14)
        samples = bytes(range(240))
        chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
        chunks += b"data" + struct.pack("<I", len(samples)) + samples
        seeds.append(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)
    wide = b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 500, 240, 60, 0)
    return [*seeds, wide + seeds[1][12:]]


TARGETS = {
    "checkpoint": Target(checkpoint, checkpoint_seeds, ("edge.checkpoints",)),
    "bundle": Target(bundle, bundle_seeds, ("edge.bundle", "edge.manifest", "edge.interface")),
    "pipe": Target(pipe, pipe_seeds, ("edge.runtime.pipes",)),
}
