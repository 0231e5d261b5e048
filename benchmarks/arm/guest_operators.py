"""Runs on the emulated core: python guest_operators.py BUNDLE RUNS PREFIX, for the ONNX graph of a bundle.

Runs the graph without and then with ONNX Runtime's profiler, each run between two calls of getppid, and prints the
path of the profile, which begins with PREFIX.
"""

from __future__ import annotations

import gc
import os
import sys

import numpy as np

from edge.backends import import_backend
from edge.bundle import open_bundle


def _main() -> None:
    bundle = open_bundle(sys.argv[1])
    runs, prefix = int(sys.argv[2]), sys.argv[3]
    import_backend("onnx")
    from edge.backends.onnx import Onnx

    inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in bundle.manifest.inputs}
    audio = bundle.manifest.inputs[0]
    inputs[audio.name] = 0.1 * np.random.default_rng(0).standard_normal(audio.shape, dtype=np.float32)
    gc.disable()
    for profiled in (False, True):
        session = Onnx(str(bundle.graph_path("onnx")), 1, prefix if profiled else None).session
        for _ in range(runs):
            os.getppid()
            session.run(None, inputs)
            os.getppid()
        if profiled:
            print(session.end_profiling())
        del session


if __name__ == "__main__":
    _main()
