"""Messages between a peer's process and ours: one line of JSON, then the float32 samples that it announces.

Imported on both sides: by edge, and by a peer's Python, which has NumPy but not edge.
"""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np


def send(stream: IO[bytes], header: dict[str, Any], audio: np.ndarray | None = None) -> None:
    """Write one message; `audio` of any shape goes as little-endian float32."""
    data = None if audio is None else np.ascontiguousarray(audio, "<f4")
    stream.write(json.dumps(header | ({} if data is None else {"shape": list(data.shape)})).encode() + b"\n")
    if data is not None:
        stream.write(data.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], np.ndarray | None]:
    """Read one message; EOFError where the other side has gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    if "shape" not in header:
        return header, None
    shape = header.pop("shape")
    count = 4 * int(np.prod(shape))
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return header, np.frombuffer(data, "<f4").reshape(shape).copy()
