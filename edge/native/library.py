"""Finds libstemedge and declares its C interface (include/stemedge.h) for ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
import sys
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

from edge.errors import EdgeError, InputError

ABI_VERSION = 1
NATIVE_HINT = "the native library is not installed: make native builds it, STEMEDGE_LIBRARY names it"
ENHANCE = 0  # of the tasks
ONNX, EXECUTORCH = 1, 2
_BAD_ARGUMENT, _BAD_BUNDLE, _NO_BACKEND = 1, 2, 3


class BundleInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        *((name, c_int32) for name in "task sample_rate channels sources hop segment latency".split()),
        ("has_onnx", c_int32),
        ("has_executorch", c_int32),
    ]


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("backend", c_int32),
        ("threads", c_int32),
        ("sample_rate", c_int32),
        ("channels", c_int32),
        ("latency", c_double),
        ("attenuation_limit", c_double),
        ("consistent", c_int32),
        ("worker", c_int32),
        ("block", c_int32),
        ("mean", c_double),
        ("deviation", c_double),
        ("low_delay", c_int32),
    ]


class StreamInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        *((name, c_int32) for name in "sample_rate inputs outputs latency backend".split()),
    ]


class Counters(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        *((n, c_uint64) for n in "frames hops inferences bad_inputs bad_outputs late_blocks late_frames".split()),
    ]


Planes = POINTER(POINTER(c_float))
_TEXT = [c_void_p, c_char_p, c_size_t, POINTER(c_size_t)]
_FUNCTIONS = {
    "use_onnxruntime": [c_char_p],
    "bundle_open": [c_char_p, POINTER(c_void_p)],
    "bundle_get_info": [c_void_p, POINTER(BundleInfo)],
    "bundle_get_name": _TEXT,
    "bundle_get_source": [c_void_p, c_int32, *_TEXT[1:]],
    "bundle_get_manifest": _TEXT,
    "bundle_get_warning": _TEXT,
    "bundle_check": [c_void_p, c_int32, c_int32, POINTER(c_double)],
    "bundle_close": [c_void_p],
    "options_init": [POINTER(Options), c_uint32],
    "stream_open": [c_void_p, POINTER(Options), POINTER(c_void_p)],
    "stream_get_info": [c_void_p, POINTER(StreamInfo)],
    "stream_get_counters": [c_void_p, POINTER(Counters)],
    "stream_process": [c_void_p, Planes, Planes, c_size_t],
    "stream_flush": [c_void_p, Planes],
    "stream_reset": [c_void_p],
    "stream_set_attenuation_limit": [c_void_p, c_double],
    "stream_set_offline": [c_void_p, c_int32],
    "stream_close": [c_void_p],
}


class Library:
    """The C functions by their names without `stemedge_`; `call` raises what went wrong."""

    def __init__(self, path: str):
        try:
            self.c = ctypes.CDLL(path)
        except OSError as error:
            raise InputError(f"{path}: not a library of this machine ({error})") from error
        if not hasattr(self.c, "stemedge_abi_version"):
            raise InputError(f"{path}: not the native library of stem-edge")
        version = self.c.stemedge_abi_version()
        if version != ABI_VERSION:
            raise InputError(f"{path}: interface version {version}, this stem-edge needs {ABI_VERSION}; build it again")
        if not hasattr(self.c, "stemedge_executorch_version"):  # the newest function
            raise InputError(f"{path}: older than this stem-edge; build it again")
        self.c.stemedge_last_error.restype = c_char_p
        self.c.stemedge_version.restype = self.c.stemedge_executorch_version.restype = c_char_p
        for name, arguments in _FUNCTIONS.items():
            getattr(self.c, f"stemedge_{name}").argtypes = arguments

    def call(self, function: str, *arguments) -> None:
        """Call stemedge_`function`; InputError or EdgeError, by its status, with its one line where it fails."""
        status = getattr(self.c, f"stemedge_{function}")(*arguments)
        if status:
            message = self.c.stemedge_last_error().decode(errors="replace")
            raise (InputError if status in (_BAD_ARGUMENT, _BAD_BUNDLE, _NO_BACKEND) else EdgeError)(message)


@functools.cache
def load_library() -> Library:
    """The library of $STEMEDGE_LIBRARY, of this package or of the system; InputError where there is none.

    It takes the ONNX Runtime of the installed Python package, so that both engines run the same.
    """
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    beside = Path(__file__).parent / f"libstemedge{suffix}"
    path = os.environ.get("STEMEDGE_LIBRARY") or (str(beside) if beside.is_file() else None)
    path = path or ctypes.util.find_library("stemedge")
    if path is None:
        raise InputError(NATIVE_HINT)
    library = Library(path)
    runtime = onnxruntime_library()
    if runtime and not os.environ.get("STEMEDGE_ONNXRUNTIME"):
        library.call("use_onnxruntime", os.fsencode(runtime))
    return library


def onnxruntime_library() -> Path | None:
    """The library inside the installed onnxruntime package; None where there is none."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "capi"
    names = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime_pybind11_state*.so")
    return next((file for name in names for file in sorted(folder.glob(name))), None)
