"""How graphs are written for each backend: a record in a file of its own, and a line here."""

from edge.errors import InputError
from edge.export.backends.executorch import EXECUTORCH
from edge.export.backends.onnx import ONNX
from edge.export.backends.record import Exporter

__all__ = ["EXPORTERS", "Exporter", "exporter_named", "register"]

EXPORTERS: dict[str, Exporter] = {"onnx": ONNX, "executorch": EXECUTORCH}


def register(name: str, exporter: Exporter) -> None:
    """Tell how graphs are written for a further backend."""
    EXPORTERS[name] = exporter


def exporter_named(name: str) -> Exporter:
    """Raises InputError for a backend that nothing is known to export for."""
    if name not in EXPORTERS:
        raise InputError(f"unknown format {name!r}; known: {', '.join(EXPORTERS)}")
    return EXPORTERS[name]
