"""The HTTP side: who may talk to the server at all, the web page, and /health."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import json
import re
import socket
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from edge.serve.protocol import PATH
from edge.serve.service import Service
from edge.serve.site import OTHER_TYPE, POLICY, RUNTIME, TYPES

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")
_PACKED = (".wasm", ".js", ".mjs")  # what is sent in gzip, once it is long
_LONG = 1 << 14  # bytes
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",  # no frame around it
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class Pages:
    """Answers HTTP requests; lets those to the stream's path pass on to the WebSocket handshake."""

    def __init__(self, service: Service, host: str):
        self._service, self._host = service, host
        self._loopback = is_loopback(host)
        self._files = {f"/{name}": content for name, content in service.site.items()}
        self._files["/"] = self._files.pop("/index.html", b"")
        self._packed: dict[str, bytes] = {}

    async def answer(self, request: Request) -> Response | None:
        """The response, or None for a handshake that may go on."""
        host = _only(request, "Host")
        if host is None or not host_allowed(host, self._host, self._loopback):
            return _text(HTTPStatus.FORBIDDEN, "this server is not known by that name: use its address, or --host NAME")
        if not origin_allowed(request.headers.get_all("Origin"), host):
            return _text(HTTPStatus.FORBIDDEN, "pages of other origins may not use this server")
        if request.method != "GET":
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
        path = request.path.partition("?")[0]
        if path == PATH:
            if (_only(request, "Upgrade") or "").lower() != "websocket":
                return _text(HTTPStatus.UPGRADE_REQUIRED, "this is the address of the WebSocket")
            if len(self._service.clients) >= self._service.limits.clients:
                self._service.refused += 1
                return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the server is full; try again later")
            return None
        if path == "/health":
            return _response(HTTPStatus.OK, "application/json", json.dumps(self._service.health()).encode())
        if path in self._files:
            gzipped = "gzip" in (_only(request, "Accept-Encoding") or "")
            return await asyncio.to_thread(self._file, path, gzipped)  # megabytes: others are being enhanced
        return _text(HTTPStatus.NOT_FOUND, f"there is /, /health and {PATH}")

    def _file(self, path: str, gzipped: bool) -> Response:
        suffix = "/index.html" if path == "/" else path
        type = TYPES.get(suffix[suffix.rfind(".") :], OTHER_TYPE)
        response = _response(HTTPStatus.OK, type, self._content(path, gzipped and type != OTHER_TYPE))
        if gzipped and path in self._packed:
            response.headers["Content-Encoding"] = "gzip"
        if path.startswith(f"/{RUNTIME}/"):  # its version is in its address
            del response.headers["Cache-Control"]
            response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
        return response

    def _content(self, path: str, gzipped: bool) -> bytes:
        if gzipped and path in self._packed:
            return self._packed[path]
        content = self._files[path]
        data = content if isinstance(content, bytes) else content.read_bytes()
        if gzipped and len(data) > _LONG and path.endswith(_PACKED):
            data = self._packed[path] = gzip.compress(data, 6)
        return data


def host_allowed(header: str, host: str, loopback: bool) -> bool:
    """Whether a request's Host header is a name of the server that listens on `host`, whatever the port.

    A foreign page whose name was made to resolve to this machine (DNS rebinding) carries that foreign name. On
    `loopback` the server's names are the loopback addresses; elsewhere any address is, as no rebinding needs one,
    and this machine's own name.
    """
    match = _HOST.fullmatch(header)
    if match is None:
        return False
    name = match[1].strip("[]").lower().removesuffix(".")
    if name in ("localhost", host.lower()):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback or not loopback
    except ValueError:
        return not loopback and name == socket.gethostname().lower()


def origin_allowed(origins: list[str], host: str) -> bool:
    """Whether the request comes from the server's own page, or from a program that is no browser (no Origin)."""
    own = {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}
    return not origins or (len(origins) == 1 and origins[0].lower() in own)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be reached from this machine. Raises OSError for an unknown name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def _only(request: Request, header: str) -> str | None:
    values = request.headers.get_all(header)
    return values[0] if len(values) == 1 else None


def _text(status: HTTPStatus, text: str) -> Response:
    return _response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _response(status: HTTPStatus, type: str, body: bytes) -> Response:
    headers = Headers(_HEADERS | {"Content-Type": type, "Content-Length": str(len(body))})
    return Response(status, status.phrase, headers, body)
