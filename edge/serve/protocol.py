"""What client and server say to each other beside the audio; docs/serve.md is the specification."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.runtime.shaping import Shaping

VERSION = 1
PATH = "/stream"
MIN_RATE, MAX_RATE = 4000, 192_000
MAX_LIMIT = 1000  # dB
MAX_TEXT = 4096  # characters of a JSON message

# Close codes of RFC 6455, as they are used here.
BAD_DATA, BAD_USE, TOO_BIG, FAILED, FULL = 1007, 1008, 1009, 1011, 1013

_TYPES: dict[str, np.dtype[Any]] = {"f32le": np.dtype("<f4"), "s16le": np.dtype("<i2")}
FORMATS = tuple(_TYPES)
BANDS = ("full", "model")


class Refusal(Exception):
    """The client did something that ends its connection: a close code and one line for it."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Limits:
    """Bounds on what the clients can take; times in seconds."""

    clients: int = 32
    message_bytes: int = 1 << 20
    queued_messages: int = 8  # of one client, before its socket is no longer read
    unsent_bytes: int = 1 << 16  # of one client, before nothing more is computed for it
    open_seconds: float = 10  # for a connection to say what it wants
    hello_seconds: float = 10
    ping_seconds: float = 20  # of silence, before the client is asked whether it is there
    idle_seconds: float = 300
    stall_seconds: float = 20  # in which a client must make room for more output


@dataclass(frozen=True)
class Hello:
    """A client's first message: its sample rate in Hz, the format of its samples, and what is done to the result."""

    sample_rate: int
    format: str
    shaping: Shaping


def parse_hello(message: str | bytes, default_rate: int) -> Hello:
    """The hello in a first message; Refusal where it is none, or asks for what is not there."""
    fields = _parse(message, "the first message must be a JSON hello, see the documentation")
    if fields.get("type") != "hello":
        raise Refusal(BAD_USE, 'the first message must be {"type": "hello", ...}')
    if fields.get("protocol") != VERSION:
        raise Refusal(BAD_USE, f"protocol {_shown(fields.get('protocol'))} is not served; use {VERSION}")
    format = fields.get("format", "f32le")
    if format not in FORMATS:
        raise Refusal(BAD_USE, f"format {_shown(format)} is not known; use {' or '.join(FORMATS)}")
    rate = fields.get("sample_rate", default_rate)
    if type(rate) is not int or not MIN_RATE <= rate <= MAX_RATE:
        raise Refusal(BAD_USE, f"sample_rate {_shown(rate)} is not a whole number of {MIN_RATE} to {MAX_RATE} Hz")
    band, limit = fields.get("band", "full"), fields.get("atten_limit")
    if band not in BANDS:
        raise Refusal(BAD_USE, f"band {_shown(band)} is not known; use {' or '.join(BANDS)}")
    if limit is not None and not (type(limit) in (int, float) and 0 <= limit <= MAX_LIMIT):
        raise Refusal(BAD_USE, f"atten_limit {_shown(limit)} is not null or 0 to {MAX_LIMIT} dB")
    return Hello(rate, format, Shaping(band == "full", limit))


def parse_command(message: str) -> str:
    """ "flush" or "reset"; Refusal for anything else."""
    command = _parse(message, "a text message must be JSON; audio goes into binary messages").get("type")
    if command not in ("flush", "reset"):
        raise Refusal(BAD_USE, f"type {_shown(command)} is not known; use flush or reset")
    return command


class PcmDecoder:
    """Binary messages, cut anywhere, to samples."""

    def __init__(self, format: str):
        self._type = _TYPES[format]
        self._part = b""  # of a sample
        self._count = 0

    def decode(self, message: bytes) -> np.ndarray:
        """Float32 (n,), full scale +-1; Refusal where a sample is NaN or infinite."""
        data = self._part + message
        whole = len(data) - len(data) % self._type.itemsize
        self._part = data[whole:]
        samples = np.frombuffer(data[:whole], self._type).astype(np.float32)
        if self._type.kind == "i":
            samples /= 32768
        finite = np.isfinite(samples)
        if not finite.all():
            raise Refusal(BAD_DATA, f"sample {self._count + int(np.argmin(finite))} is not a finite number")
        self._count += len(samples)
        return samples

    def finish(self) -> None:
        """The recording ends here; Refusal where that is within a sample."""
        if self._part:
            raise Refusal(BAD_DATA, "the audio ends within a sample")
        self.reset()

    def reset(self) -> None:
        self._part = b""
        self._count = 0


def encode_pcm(samples: np.ndarray, format: str) -> bytes:
    """Float32 (n,) to bytes; s16le is rounded, and clipped at full scale."""
    if format == "s16le":
        samples = np.clip(np.rint(samples * 32768), -32768, 32767)
    return samples.astype(_TYPES[format]).tobytes()


def message(type: str, **fields: Any) -> str:
    """A JSON message."""
    return json.dumps({"type": type, **fields})


def _parse(message: str | bytes, otherwise: str) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise Refusal(BAD_USE, otherwise)
    if len(message) > MAX_TEXT:
        raise Refusal(TOO_BIG, f"a text message may have {MAX_TEXT} characters")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        raise Refusal(BAD_USE, otherwise) from None
    if not isinstance(fields, dict):
        raise Refusal(BAD_USE, otherwise)
    return fields


def _shown(value: object) -> str:
    """A client's value in a message to it."""
    return json.dumps(value)[:40]
