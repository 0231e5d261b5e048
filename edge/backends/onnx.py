"""ONNX Runtime."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge.backends.record import Backend
from edge.interface import Interface
from edge.runtime.binding import Binding, Runtime

# x86: blocks of 16 channels, mostly padding in pruned networks; ARM64 int8: transposes between every other layer
DISABLED = ["NchwcTransformer", "NhwcTransformer"]
# One region that grows as it is touched, and from which every tensor takes no more than it needs: by default regions
# double, a tensor that fits into none leaves them empty, and free pieces are given away whole.
ARENA = {
    "arena_extend_strategy": 0,  # by powers of two
    "initial_chunk_size_bytes": 128 << 20,
    "max_dead_bytes_per_chunk": 64 << 10,
}


class Onnx:
    """A session, which may run in several threads at once.

    model: a graph's file or content; profile: prefix of the file that the session's events are written to; long: it
    takes segments, whose activations are most of its memory, and not hops, of which each allocation would count.
    """

    def __init__(self, model: str | bytes, threads: int, profile: str | None = None, long: bool = False):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come back as exceptions
        # x86 without VNNI adds products of bytes in 16 bits, which overflow: other samples than everywhere else
        options.add_session_config_entry("session.x64quantprecision", "1")
        if long:
            _spare_memory(options)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        self.session = onnxruntime.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=DISABLED,
        )
        if long:
            _return_heap()
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.session.run(None, dict(zip(self.inputs, inputs, strict=True)))

    def bind(self, interface: Interface) -> Binding:
        return _OnnxBinding(self, interface)


def _spare_memory(options: Any) -> None:
    """What halves the memory of a long segment and leaves the work as it is: see docs/memory.md."""
    options.enable_mem_pattern = False  # a block for all tensors, made after the first run, beside what that run took
    options.enable_mem_reuse = False  # a tensor in a dead one's place keeps it from its first use to its last
    _make_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")


@functools.cache
def _make_arena() -> None:
    """The process's allocator, which all such sessions share, unless the process has made one of its own."""
    from onnxruntime import OrtAllocatorType, OrtArenaCfg, OrtMemoryInfo, OrtMemType, create_and_register_allocator

    info = OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
    with contextlib.suppress(RuntimeError):  # there is one
        create_and_register_allocator(info, OrtArenaCfg(ARENA))


def _return_heap() -> None:
    """Give back what loading left free in glibc's heap; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such library, no such function
        ctypes.CDLL(None).malloc_trim(0)


class _OnnxBinding:
    """Two sets of states: each run reads one and writes the other, and no tensor is allocated or copied."""

    def __init__(self, runtime: Onnx, interface: Interface):
        from onnxruntime import OrtValue

        def arrays(specs):
            return [np.zeros(spec.shape, spec.dtype) for spec in specs]

        self.input, self._states = arrays(interface.inputs[:1])[0], arrays(interface.inputs[1:])
        self.output, spare = arrays(interface.outputs[:1])[0], arrays(interface.outputs[1:])
        self._arrays = [self.input, self.output, *self._states, *spare]  # the OrtValues use their memory
        first, output, *values = [OrtValue.ortvalue_from_numpy(array) for array in self._arrays]
        here, there = values[: len(spare)], values[len(spare) :]
        self._turns = []
        for old, new in ((here, there), (there, here)):
            binding = runtime.session.io_binding()
            for name, value in zip(runtime.inputs, [first, *old], strict=True):
                binding.bind_ortvalue_input(name, value)
            for name, value in zip(runtime.outputs, [output, *new], strict=True):
                binding.bind_ortvalue_output(name, value)
            self._turns.append(binding)
        self._session, self._turn = runtime.session, 0

    def run(self) -> None:
        self._session.run_with_iobinding(self._turns[self._turn])
        self._turn ^= 1

    def reset(self) -> None:
        self._turn = 0
        for state in self._states:
            state.fill(0)


def _missing() -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return "the onnx backend is not installed: pip install onnxruntime"
    return None


def _prepare() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default since 1.29; read at import
    importlib.import_module("onnxruntime")


def _load(path: str, threads: int, interface: Interface) -> Runtime:
    return Onnx(path, threads, long=interface.segment is not None)


def _version() -> str:
    return importlib.import_module("onnxruntime").__version__


ONNX = Backend(
    "onnx",
    "model.onnx",
    _missing,
    _prepare,
    _load,
    concurrent=True,
    stores_int8=True,
    profiled=True,
    package="onnxruntime",
    version=_version,
)
