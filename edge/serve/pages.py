"""The HTTP side: who may talk to the server at all, the web page, and /health."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from http import HTTPStatus
from importlib import resources

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from edge.serve.protocol import PATH
from edge.serve.service import Service

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}

# Nothing but what this server gives, no inline script or style, no frame around it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
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
        folder = resources.files("edge.serve")
        self._files = {f"/{f.name}": f.read_bytes() for f in folder.iterdir() if _suffix(f.name) in _TYPES}
        self._files["/"] = self._files.pop("/index.html")

    def answer(self, request: Request) -> Response | None:
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
            return _response(HTTPStatus.OK, _TYPES.get(_suffix(path), "text/html"), self._files[path])
        return _text(HTTPStatus.NOT_FOUND, f"there is /, /health and {PATH}")


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


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _text(status: HTTPStatus, text: str) -> Response:
    return _response(status, "text/plain", f"{text}\n".encode())


def _response(status: HTTPStatus, type: str, body: bytes) -> Response:
    headers = Headers(_HEADERS | {"Content-Type": f"{type}; charset=utf-8", "Content-Length": str(len(body))})
    return Response(status, status.phrase, headers, body)
