"""A small client of edge-serve, for programs that wait (docs/serve.md has the protocol)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from edge.errors import EdgeError, InputError
from edge.runtime.shaping import Shaping
from edge.serve.protocol import PATH, VERSION, PcmDecoder, encode_pcm, message

MAX_CHANNELS = 64
DEFAULT_URL = f"ws://127.0.0.1:8765{PATH}"
DEFAULT = Shaping(full_band=True)  # as edge-run's


class Client:
    """A connection that enhances one mono stream; a context manager.

    `sample_rate` (default: the model's) and `format` are those of the samples on the wire; `shaping` bounds the
    strength, and says whether the band above the model's is kept. `ready` is the server's
    answer to the hello; `latency_samples` is how far the output can lag the input. Send and receive in different
    threads, or read often: a client that does not read is dropped. Raises EdgeError where the server is not there,
    refuses or goes away.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        sample_rate: int | None = None,
        format: str = "f32le",
        timeout: float = 30,
        shaping: Shaping = DEFAULT,
    ):
        self._timeout, self._format = timeout, format
        self._decoder = PcmDecoder(format)
        self._open = ExitStack()
        try:
            # No pings: their answers come behind all the audio that was sent ahead. `timeout` bounds the waiting.
            connection = connect(
                url, compression=None, proxy=None, open_timeout=timeout, ping_interval=None, max_size=None
            )
            self._socket = self._open.enter_context(connection)
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise EdgeError(f"{url}: no connection: {error}") from error
        hello: dict[str, Any] = {"protocol": VERSION, "format": format, "atten_limit": shaping.atten_limit}
        hello["band"] = "full" if shaping.full_band else "model"
        if sample_rate is not None:
            hello["sample_rate"] = sample_rate
        try:
            self._send(message("hello", **hello))
            self.ready = self._event()
        except EdgeError:
            self.close()
            raise
        self.sample_rate: int = self.ready["sample_rate"]
        self.latency_samples: int = self.ready["latency_samples"]

    def send(self, samples: np.ndarray) -> None:
        """Send float32 (n,), full scale +-1; in pieces, where they are more than a message may hold.

        InputError for another shape: a stream is one channel.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1:
            raise InputError(f"a stream takes one channel, (n,), not {samples.shape}: open one for each channel")
        data = encode_pcm(samples, self._format)
        most = self.ready["limits"]["message_bytes"]
        for start in range(0, len(data), most):
            self._send(data[start : start + most])

    def flush(self) -> None:
        """Ask for what is left; `blocks` ends behind it, and the next samples begin a new recording."""
        self._send(message("flush"))

    def reset(self) -> None:
        """Forget all input; output of what was sent before is thrown away, here too. Not while `blocks` runs."""
        self._send(message("reset"))
        while not isinstance(received := self._receive(), dict) or received["type"] != "reset":
            continue

    def receive(self) -> np.ndarray | None:
        """The next samples, float32 (m,); None where a flush is answered. EdgeError after `timeout` seconds."""
        received = self._receive()
        return None if isinstance(received, dict) else received

    def blocks(self) -> Iterator[np.ndarray]:
        """Samples as they come, until a flush is answered."""
        while (block := self.receive()) is not None:
            yield block

    def enhance(self, samples: np.ndarray, chunk: int = 4096) -> np.ndarray:
        """A whole recording, float32 (n,) or (n, channels), each channel on its own; returns the same shape.

        Sent in messages of `chunk` samples. InputError for another shape.
        """
        samples = np.asarray(samples)
        if samples.ndim == 2 and samples.shape[1] <= MAX_CHANNELS:
            columns = [self.enhance(samples[:, channel], chunk) for channel in range(samples.shape[1])]
            return np.stack(columns, axis=1) if columns else samples.astype(np.float32)
        if samples.ndim != 1:
            raise InputError(f"a recording is (n,) or (n, channels), not {samples.shape}: is it the other way round?")

        def feed() -> None:
            try:
                for start in range(0, len(samples), chunk):
                    self.send(samples[start : start + chunk])
                self.flush()
            except EdgeError:
                return  # the reader meets the same end, and raises it

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        blocks = list(self.blocks())
        feeder.join()
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, data: str | bytes) -> None:
        try:
            self._socket.send(data)
        except ConnectionClosed as error:
            raise EdgeError(f"the server closed the connection: {_why(error)}") from error

    def _receive(self) -> np.ndarray | dict[str, Any]:
        try:
            received = self._socket.recv(self._timeout)
        except TimeoutError as error:
            raise EdgeError(f"the server did not answer for {self._timeout:g} s") from error
        except ConnectionClosed as error:
            raise EdgeError(f"the server closed the connection: {_why(error)}") from error
        if isinstance(received, bytes):
            return self._decoder.decode(received)
        event = json.loads(received)
        if event["type"] == "error":
            raise EdgeError(f"the server refused: {event['message']}")
        return event

    def _event(self) -> dict[str, Any]:
        received = self._receive()
        assert isinstance(received, dict)
        return received


def _why(error: ConnectionClosed) -> str:
    if error.rcvd is None:
        return "without a word"
    return error.rcvd.reason or f"code {error.rcvd.code}"
