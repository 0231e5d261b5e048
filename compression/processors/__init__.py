"""The processors that graphs are made for: a record in a file of its own, and a line here."""

from edge.compression.processors.arm64 import ARM64
from edge.compression.processors.record import ALWAYS, NEVER, BreakEven, Processor
from edge.compression.processors.x86 import X86
from edge.errors import InputError

__all__ = ["ALWAYS", "NEVER", "PROCESSORS", "BreakEven", "Processor", "processor_named", "register"]

PROCESSORS: dict[str, Processor] = {p.name: p for p in (ARM64, X86)}


def register(processor: Processor) -> None:
    """Make a further processor known by its name."""
    PROCESSORS[processor.name] = processor


def processor_named(name: str) -> Processor:
    """Raises InputError for a name that nobody registered."""
    if name not in PROCESSORS:
        raise InputError(f"unknown target {name!r}; known: {', '.join(PROCESSORS)}")
    return PROCESSORS[name]
