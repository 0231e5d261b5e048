"""The native core in Python: the same bundles and sessions, run by the C++ library of this folder (docs/native.md)."""

from edge.native.library import NATIVE_HINT, Library, load_library
from edge.native.session import NativeBundle, NativeGraph, NativeSession, NativeStream

__all__ = ["NATIVE_HINT", "Library", "NativeBundle", "NativeGraph", "NativeSession", "NativeStream", "load_library"]
