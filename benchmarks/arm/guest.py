"""Runs on the emulated core: python guest.py BUNDLE BACKEND HOPS. Needs numpy, the runtimes and `edge` on the path.

Makes the bundle's golden check on a stream's own buffers, as every stream runs a graph, and then further passes until
at least HOPS are done. Every run stands between two calls of getppid, at which the counter writes its totals. Prints
one JSON line.
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
from edge.runtime.graphs import load_graph

_PACKAGES = ("numpy", "onnxruntime", "executorch-numpy-runtime")


class Counted:
    """A graph bound to the buffers of one stream, in the form that the golden check takes; its runs are counted.

    The states stay in the binding: those handed in are looked at only to see where a stream begins.
    """

    def __init__(self, bundle: Bundle, backend: str):
        self._binding = load_graph(bundle, backend, threads=1).bind()
        self.runs = 0

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        first, *states = inputs
        if not any(state.any() for state in states):
            self._binding.reset()
            states = [state + np.float32(1) for state in states]  # of the next hop: not zero, so not a beginning
        self._binding.input[...] = first
        os.getppid()
        self._binding.run()
        os.getppid()
        self.runs += 1
        return [self._binding.output, *states]


def measure(bundle: Bundle, backend: str, hops: int) -> float:
    """Golden SNR in dB; at least `hops` counted runs on the golden input, an enhancer's state zero in the first."""
    graph = Counted(bundle, backend)
    snr = check_golden(bundle, backend, graph)
    golden = bundle.manifest.golden
    audio = bundle.read_f32(golden.input.file, golden.input.shape)
    while graph.runs < hops:
        golden_output(bundle.manifest, audio, graph)
    return snr


def _main() -> None:
    gc.disable()  # a collection inside a run would be counted
    usable = sorted(os.sched_getaffinity(0))  # on one processor the counts do not depend on how many the machine has
    os.sched_setaffinity(0, {usable[os.getpid() % len(usable)]})
    path, backend, hops = sys.argv[1:]
    try:
        bundle = open_bundle(path)
        answer: dict[str, object] = {"golden_snr_db": measure(bundle, backend, int(hops))}
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        answer["tools"] = {"python": platform.python_version(), **versions}
    except EdgeError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
