"""The native library, cross-built for ARM64, on emulated cores (docs/native.md: make native-arm).

EDGE_NATIVE_ARM names the folder of the build, EDGE_ARM_PYTHON the emulated Python.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from native_arm import native, python

from edge.benchmarks.arm.emulator import CORES, find_emulator
from edge.bundle import open_bundle

ARM = Path(os.environ.get("EDGE_ARM_PYTHON", "no EDGE_ARM_PYTHON"))
BUILD = Path(os.environ.get("EDGE_NATIVE_ARM", "no EDGE_NATIVE_ARM"))
if not ARM.is_file() or not (BUILD / "counted").is_file() or shutil.which("qemu-aarch64") is None:
    pytest.skip("no emulated ARM64 core, or the library was not built for it", allow_module_level=True)

SAME = """
import sys
import numpy as np
from edge.bundle import open_bundle
from edge.native import NativeBundle, NativeSession, NativeStream
from edge.runtime.graphs import load_graph
from edge.runtime.session import new_session

bundle = open_bundle(sys.argv[1])
golden = bundle.manifest.golden.input
audio = bundle.read_f32(golden.file, golden.shape)
session = new_session(bundle, load_graph(bundle, "onnx"))
stream = NativeSession(NativeStream(NativeBundle(bundle.path), "onnx"), session.shape_out, session.hop)
outs = [np.concatenate([s.process(audio), s.flush()], axis=-1) for s in (session, stream)]
print(outs[0].any() and np.array_equal(*outs))
"""


@pytest.mark.parametrize("core", CORES)
def test_golden_check_and_what_is_around_the_graph(enhancer_path, core):
    bundle, emulator = open_bundle(enhancer_path), find_emulator(ARM)
    own, other = native(BUILD, emulator, core, bundle), python(emulator, core, bundle)
    assert own.golden_snr_db == other.golden_snr_db > 60
    assert 0 < own.host < 10_000 and own.host < other.host / 5  # of 320 samples
    assert 0 < own.graph < other.graph


def test_the_stream_is_that_of_python_to_the_bit(enhancer_path):
    environment = {"STEMEDGE_LIBRARY": str((BUILD / "libstemedge.so").resolve())}
    assert find_emulator(ARM).run("cortex-a76", ["-c", SAME, enhancer_path], environment=environment).strip() == "True"
