"""Listens, hands each connection to its conversation, and stops cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.protocol import State

from edge.errors import EdgeError, InputError
from edge.serve.conversation import converse
from edge.serve.pages import Pages
from edge.serve.service import Service

CLOSE_SECONDS = 2
SPARE_CONNECTIONS = 256  # beside the clients: pages, health, and those that say nothing
RECEIVED_BYTES = 1 << 14  # that the system takes for us: what is read at once keeps the others waiting
MAX_ANSWERS = 64  # to control frames that were read at once
MAX_UNREAD = 1 << 20  # bytes of answers that a client does not read
MAX_PAGES = 64 << 20  # bytes of the page's files that are on their way, to all together

Announce = Callable[[list[tuple[str, int]]], None]


class _Connection(ServerConnection):
    """Bounds what a client can make the server hold outside the conversation."""

    everyone: dict[_Connection, None]  # the oldest first
    most: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.everyone[self] = None
        if len(self.everyone) > self.most:
            # Those that have not said what they want make room.
            waiting = (each for each in self.everyone if each.state is State.CONNECTING)
            next(waiting).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.everyone.pop(self, None)
        super().connection_lost(exc)

    def send_data(self) -> None:
        """Frames that are due. Answers to pings are beyond the conversation's flow control: a flood ends here."""
        frames = self.protocol.data_to_send()
        flooded = len(frames) > MAX_ANSWERS or self.transport.get_write_buffer_size() > MAX_UNREAD
        if flooded and self.state is not State.CONNECTING:
            self.transport.abort()
        elif frames:
            self.protocol.writes = frames
            super().send_data()


@contextlib.asynccontextmanager
async def listening(
    service: Service, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[tuple[str, int]]]:
    """Serve on `host` and `port` (0: any free one) within the context, by https and wss with `tls`; yields the
    addresses and ports.

    On leaving, the clients get a close frame and the service is closed. Raises InputError for an unknown host,
    EdgeError where the port is not to be had.
    """
    limits = service.limits
    connections: dict[_Connection, None] = {}
    factory = type("Connection", (_Connection,), {"everyone": connections, "most": limits.clients + SPARE_CONNECTIONS})
    logger = logging.getLogger("edge.serve.websockets")
    logger.setLevel(logging.CRITICAL)  # what clients do wrong is told to them

    async def handle(connection: ServerConnection) -> None:
        await converse(connection, service)

    async def answer(connection: ServerConnection, request: Request) -> Response | None:
        response = await pages.answer(request)
        if response is not None and len(response.body or b"") > MAX_UNREAD:
            under_way = sum(each.transport.get_write_buffer_size() for each in connections)
            if under_way > MAX_PAGES:
                connection.transport.abort()
            connection.close_timeout = limits.open_seconds  # for it to arrive
        return response

    try:
        pages = Pages(service, host)
        server = await serve(
            handle,
            host,
            port,
            ssl=tls,
            create_connection=factory,
            process_request=answer,
            compression=None,
            open_timeout=limits.open_seconds,
            ping_interval=None,  # the conversation pings, when the client is silent
            close_timeout=CLOSE_SECONDS,
            max_size=limits.message_bytes,
            max_queue=limits.queued_messages,
            write_limit=limits.unsent_bytes,
            server_header=None,
            logger=logger,
        )
    except socket.gaierror as error:
        raise InputError(f"--host {host}: {error.strerror}") from error
    except OSError as error:
        raise EdgeError(_no_port(host, port, error)) from error
    for listener in server.sockets:
        # Inherited by each connection. The system's own megabytes would hide for long that a client does not read,
        # and that a slow one does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.unsent_bytes)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
    try:
        yield [listener.getsockname()[:2] for listener in server.sockets]
    finally:
        server.close(reason="the server stops")
        for connection in list(connections):
            if connection.state is State.CONNECTING:
                connection.transport.abort()
        await server.wait_closed()
        service.close()


def serve_until_stopped(
    service: Service, host: str, port: int, announce: Announce, tls: ssl.SSLContext | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets the addresses when clients can connect. `tls`: see `listening`."""
    asyncio.run(_until_stopped(service, host, port, announce, tls))


async def _until_stopped(
    service: Service, host: str, port: int, announce: Announce, tls: ssl.SSLContext | None
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def stopped(*_: Any) -> None:
        loop.call_soon_threadsafe(stop.set)

    previous = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        async with listening(service, host, port, tls) as addresses:
            announce(addresses)
            await stop.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _no_port(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what uses it or choose another with --port"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot listen on port {port} of {host}: {reason}"
