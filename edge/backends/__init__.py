"""The runtimes that a bundle's graphs are for: each is a record in a file of its own, and a line here.

None needs torch to be imported. A runtime from outside the package joins by `register`.
"""

from edge.backends.executorch import EXECUTORCH
from edge.backends.onnx import ONNX
from edge.backends.record import Backend
from edge.errors import InputError

__all__ = ["BACKENDS", "Backend", "backend_named", "import_backend", "register"]

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (ONNX, EXECUTORCH)}  # the first is preferred


def register(backend: Backend) -> None:
    """Make a further runtime known by its name."""
    BACKENDS[backend.name] = backend


def backend_named(name: str) -> Backend:
    """The record of a runtime. Raises InputError for a name that nobody registered."""
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r}; known: {', '.join(BACKENDS)}")
    return BACKENDS[name]


def import_backend(name: str) -> None:
    """Import a runtime's package; InputError, with what to install, where it is missing."""
    backend = backend_named(name)
    if reason := backend.missing():
        raise InputError(reason)
    backend.prepare()
