"""stem-edge: HT Demucs and a causal speech enhancer, compressed, exported and streamed on the edge.

Importing `edge` and everything under `edge.runtime` needs no torch; `edge.models`, `edge.compression`,
`edge.export` and `edge.training` are the workbench and do. What `__all__` names is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.api import enhance_file, separate_file
    from edge.bundle import open_bundle
    from edge.runtime.session import Session, open_session

__version__ = "0.1.0"
__all__ = ["Session", "enhance_file", "open_bundle", "open_session", "separate_file"]

_PLACES = {
    "open_bundle": "edge.bundle",
    "open_session": "edge.runtime.session",
    "Session": "edge.runtime.session",
    "enhance_file": "edge.api",
    "separate_file": "edge.api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
