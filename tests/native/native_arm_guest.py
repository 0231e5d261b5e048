"""Runs on the emulated core: native_arm_guest.py BUNDLE BACKEND CALLS.

What edge/native/tests/counted.cpp does, with the Python sessions: the golden check, then the golden input through a
live session with marks around it and the graph.
"""

from __future__ import annotations

import gc
import os
import sys

import numpy as np

from edge.bundle import open_bundle
from edge.runtime.golden import check_golden
from edge.runtime.graphs import LoadedGraph, load_graph
from edge.runtime.session import Live, new_session

marks: list[str] = []


def mark(kind: str) -> None:
    marks.append(kind)
    os.getppid()


class MarkedBinding:
    def __init__(self, bound):
        self._bound, self.input, self.reset = bound, bound.input, bound.reset

    @property
    def output(self) -> np.ndarray:
        return self._bound.output

    def run(self) -> None:
        mark("r")
        self._bound.run()
        mark("R")


class MarkedGraph(LoadedGraph):
    def bind(self) -> MarkedBinding:
        return MarkedBinding(super().bind())


def main(path: str, backend: str, calls: int) -> None:
    bundle = open_bundle(path)
    manifest, graph = bundle.manifest, load_graph(bundle, backend)
    print(round(check_golden(bundle, backend, graph), 1))
    graph.__class__ = MarkedGraph
    live = Live(new_session(bundle, graph))
    golden = manifest.golden.input
    audio = bundle.read_f32(golden.file, golden.shape)
    for call in range(calls):
        block = np.take(audio, np.arange(call * manifest.hop, (call + 1) * manifest.hop), axis=-1, mode="wrap")
        mark("p")
        live.process(block)
        mark("P")
    print("".join(marks))


if __name__ == "__main__":
    gc.disable()  # a collection would be counted
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
