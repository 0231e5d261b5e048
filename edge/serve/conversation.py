"""One client's connection from its hello to its end. Whatever the client does, nobody else notices."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from edge.errors import EdgeError
from edge.serve.protocol import (
    BAD_USE,
    FAILED,
    FORMATS,
    FULL,
    MAX_RATE,
    MIN_RATE,
    VERSION,
    PcmDecoder,
    Refusal,
    encode_pcm,
    message,
    parse_command,
    parse_hello,
)
from edge.serve.service import Service

TURN = 0.1  # seconds of audio that a client gets computed before it is the next one's turn


class Gone(Exception):
    """The client does not take its output, or does not answer: there is nobody to say goodbye to."""


async def converse(connection: ServerConnection, service: Service) -> None:
    """Serve the client until it leaves or must be sent away; never raises for what a client does."""
    if len(service.clients) >= service.limits.clients:
        await _dismiss(connection, service, Refusal(FULL, "the server is full; try again later"))
        return
    service.clients.add(connection)
    service.served += 1
    try:
        await _Conversation(connection, service).hold()
    except ConnectionClosed:
        return  # it left, with or without a word
    except Gone:
        service.dropped += 1
        connection.transport.abort()
    except Refusal as refusal:
        await _dismiss(connection, service, refusal)
    except EdgeError as error:
        await _dismiss(connection, service, Refusal(FAILED, str(error)))
    except Exception as error:  # a defect here must not take the others down, but must be seen
        print(f"edge-serve: unexpected {type(error).__name__}: {error}", file=sys.stderr)
        await _dismiss(connection, service, Refusal(FAILED, "the server failed; its console says why"))
    finally:
        service.clients.discard(connection)


async def _dismiss(connection: ServerConnection, service: Service, refusal: Refusal) -> None:
    """Say why, and close."""
    service.refused += 1
    text = " ".join(str(refusal).split())
    try:
        async with asyncio.timeout(service.limits.stall_seconds):
            await connection.send(message("error", message=text))
            await connection.close(refusal.code, text.encode()[:123].decode(errors="ignore"))
    except ConnectionClosed:
        return
    except TimeoutError:
        connection.transport.abort()


class _Conversation:
    """Reads one message, answers it, reads the next: what is under way for a client is bounded by that alone."""

    def __init__(self, connection: ServerConnection, service: Service):
        self._connection, self._service, self._limits = connection, service, service.limits

    async def hold(self) -> None:
        manifest = self._service.manifest
        try:
            async with asyncio.timeout(self._limits.hello_seconds):
                first = await self._connection.recv()
        except TimeoutError:
            raise Refusal(BAD_USE, f"no hello within {self._limits.hello_seconds:g} s") from None
        hello = parse_hello(first, manifest.sample_rate)
        self._format, self._decoder = hello.format, PcmDecoder(hello.format)
        self._stream = self._service.open_stream(hello.sample_rate, hello.shaping)
        self._delivered = 0  # samples since the stream began
        latency = await self._service.run(lambda: self._stream.latency_samples)  # measured once for each rate
        ready = message(
            "ready",
            protocol=VERSION,
            model=manifest.name,
            sample_rate=hello.sample_rate,
            format=hello.format,
            band="full" if hello.shaping.full_band else "model",
            atten_limit=hello.shaping.atten_limit,
            model_sample_rate=manifest.sample_rate,
            hop=manifest.hop,
            latency_samples=latency,
            limits={
                "message_bytes": self._limits.message_bytes,
                "idle_seconds": self._limits.idle_seconds,
                "stall_seconds": self._limits.stall_seconds,
                "sample_rates": [MIN_RATE, MAX_RATE],
                "formats": FORMATS,
            },
        )
        await self._send(ready)
        while True:
            received = await self._receive()
            if isinstance(received, bytes):
                await self._enhance(self._decoder.decode(received))
            elif parse_command(received) == "flush":
                await self._flush()
            else:
                self._restart()
                await self._send(message("reset"))

    async def _enhance(self, samples: np.ndarray) -> None:
        for block in _turns(samples, self._stream.sample_rate):
            seconds = len(block) / self._stream.sample_rate
            await self._send_audio(await self._service.run(self._stream.process, block, audio_seconds=seconds))

    async def _flush(self) -> None:
        self._decoder.finish()
        await self._send_audio(await self._service.run(self._stream.flush))
        await self._send(message("flushed", samples=self._delivered))
        self._restart()

    def _restart(self) -> None:
        self._decoder.reset()
        self._stream.reset()
        self._delivered = 0

    async def _receive(self) -> str | bytes:
        """The next message. A silent client is asked whether it is there, and in the end sent away."""
        pong: asyncio.Future[float] | None = None
        quiet = 0.0
        while True:
            try:
                async with asyncio.timeout(self._limits.ping_seconds):
                    return await self._connection.recv()
            except TimeoutError:
                quiet += self._limits.ping_seconds
            if pong is not None and not pong.done():
                raise Gone
            if quiet >= self._limits.idle_seconds:
                raise Refusal(BAD_USE, f"no message for {quiet:g} s")
            pong = asyncio.ensure_future(await self._connection.ping())

    async def _send_audio(self, samples: np.ndarray) -> None:
        self._delivered += len(samples)
        if len(samples):
            await self._send(encode_pcm(samples, self._format))

    async def _send(self, data: str | bytes) -> None:
        """Wait until there is room; a client that makes none in time is gone."""
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await self._connection.send(data)
        except TimeoutError:
            raise Gone from None


def _turns(samples: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    step = max(1, round(TURN * sample_rate))
    for start in range(0, len(samples), step):
        yield samples[start : start + step]
