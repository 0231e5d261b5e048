"""Runs on the emulated core: python guest.py BUNDLE BACKEND HOPS. Needs numpy, the runtimes and `edge` on the path.

Makes the bundle's golden check and then further runs until at least HOPS are done. Every run of the graph stands
between two calls of getppid, at which the counter writes its totals. Prints one JSON line.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence

import numpy as np

from edge.bundle import Bundle, open_bundle
from edge.errors import EdgeError
from edge.runtime.golden import check_golden, golden_output
from edge.runtime.graphs import Graph, load_graph


class Counted:
    """A graph whose runs the counter sees, and how many there were."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self.runs = 0

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        os.getppid()
        outputs = self._graph(inputs)
        os.getppid()
        self.runs += 1
        return outputs


def measure(bundle: Bundle, backend: str, hops: int) -> float:
    """Golden SNR in dB; at least `hops` counted runs on the golden input, an enhancer's state zero in the first."""
    graph = Counted(load_graph(bundle, backend, threads=1))
    snr = check_golden(bundle, backend, graph)
    golden = bundle.manifest.golden
    audio = bundle.read_f32(golden.input.file, golden.input.shape)
    while graph.runs < hops:
        golden_output(bundle.manifest, audio, graph)
    return snr


def _main() -> None:
    gc.disable()  # a collection inside a run would be counted
    path, backend, hops = sys.argv[1:]
    try:
        bundle = open_bundle(path)
        answer: dict[str, object] = {"golden_snr_db": measure(bundle, backend, int(hops))}
        answer["tools"] = {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("numpy", "onnxruntime", "executorch-numpy-runtime")},
        }
    except EdgeError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
