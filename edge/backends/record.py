"""What the rest of the package knows of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.interface import Interface
from edge.runtime.binding import Runtime


@dataclass(frozen=True)
class Backend:
    """A runtime that a bundle can have a graph for.

    name: in manifests and on the command line. file: of its graph in a bundle. missing: None where the runtime is
    installed, else one line that says what to install. prepare: import the runtime, which can take longer than
    loading a graph. load: (file, threads, what the graph is for) to the graph in it. concurrent: whether several
    threads can run one loaded graph at once. stores_int8: whether a graph can hold weights as int8 that compute in
    float. profiled: whether it tells the time of each layer (see benchmarks/profiling.py). package: whose version a
    manifest's `tools` tell; version: the installed one, "" where it is unknown. Failures of `load` and of
    what it gives are the runtime's own exceptions.
    """

    name: str
    file: str
    missing: Callable[[], str | None]
    prepare: Callable[[], None]
    load: Callable[[str, int, Interface], Runtime]
    concurrent: bool = False
    stores_int8: bool = False
    profiled: bool = False
    package: str = ""
    version: Callable[[], str] = str
