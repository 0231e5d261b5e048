"""The process of one peer: `python worker.py ADAPTER.py:CLASS THREADS [ARGUMENT...]`, run by the peer's own Python.

Reads requests on stdin and answers on stdout (see protocol.py). An adapter is a class with

- `rate`, `channels`, `sources` (names of what comes out), `hop` (samples of a step; 0: takes whole recordings only),
  `size_bytes` of its weights, `version`, and for our own bundles `latency`;
- `run(audio)`: float32 (channels, n) at `rate` to float32 (sources, channels, m), from a fresh state;
- `step(frame)`: float32 (hop,), or (channels, hop) for music, the state carried on; only where `hop` is not 0.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np


def load_module(path: Path) -> ModuleType:
    """A module by its file: a peer's environment does not have edge."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def serve(adapter: Any, reader: BinaryIO, writer: BinaryIO) -> None:
    """Answer requests until the other side goes; a request that fails is answered with its error."""
    while True:
        try:
            request, audio = protocol.receive(reader)
        except EOFError:
            return
        try:
            if request["op"] == "run":
                started = time.perf_counter()
                out = adapter.run(audio)
                protocol.send(writer, {"seconds": time.perf_counter() - started}, out)
            elif request["op"] == "time":
                protocol.send(writer, timed(adapter, request["seconds"]))
            else:
                protocol.send(writer, {"error": f"unknown request {request['op']!r}"})
        except Exception as error:  # whatever a peer's package raises
            protocol.send(writer, {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def timed(adapter: Any, seconds: float) -> dict[str, Any]:
    """Process about `seconds` of noise at -20 dBFS: {"seconds", "audio_seconds", "hops": seconds of each step}."""
    rng = np.random.default_rng(0)
    if not adapter.hop:
        audio = 0.1 * rng.standard_normal((adapter.channels, round(seconds * adapter.rate)), dtype=np.float32)
        started = time.perf_counter()
        adapter.run(audio)
        took = time.perf_counter() - started
        return {"seconds": took, "audio_seconds": audio.shape[1] / adapter.rate, "hops": []}
    count = max(1, round(seconds * adapter.rate / adapter.hop))
    shape = (adapter.hop,) if adapter.channels == 1 else (adapter.channels, adapter.hop)
    frames = 0.1 * rng.standard_normal((count, *shape), dtype=np.float32)
    hops = []
    for frame in frames:
        started = time.perf_counter()
        adapter.step(frame)
        hops.append(time.perf_counter() - started)
    return {"seconds": sum(hops), "audio_seconds": count * adapter.hop / adapter.rate, "hops": hops}


def main() -> None:
    # What a package prints must not get between the messages.
    writer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    path, name = sys.argv[1].rsplit(":", 1)
    try:
        started = time.perf_counter()
        adapter = getattr(load_module(Path(path)), name)(int(sys.argv[2]), *sys.argv[3:])
        ready = {key: getattr(adapter, key, None) for key in ("rate", "channels", "sources", "hop", "latency")}
        ready |= {"size_bytes": adapter.size_bytes, "version": adapter.version}
        protocol.send(writer, ready | {"load_seconds": time.perf_counter() - started})
    except Exception as error:  # whatever a peer's package raises
        protocol.send(writer, {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
        return
    serve(adapter, sys.stdin.buffer, writer)


protocol = load_module(Path(__file__).with_name("protocol.py"))

if __name__ == "__main__":
    main()
