"""Where a graph's memory goes, from the runtimes' own figures: ONNX Runtime's profiler and ExecuTorch's programs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatbuffers.number_types import Int64Flags, Uint64Flags
from flatbuffers.table import Table

from edge.backends.executorch import EXECUTORCH
from edge.backends.onnx import ONNX
from edge.benchmarks.profiling import kind_of, profiler_events
from edge.bundle import open_bundle
from edge.errors import InputError

# Fields of ExecuTorch's schema/program.fbs, by their place in their table
_PLANS, _SEGMENTS = 1, 4
_BUFFER_SIZES, _SIZE = 8, 1  # of a plan, of a segment


@dataclass(frozen=True)
class Live:
    """The most that was in use while a layer of this type ran, in bytes, and the layer where it was."""

    kind: str
    bytes: int
    layer: str


@dataclass(frozen=True)
class GraphMemory:
    """What the graph takes, in bytes, as `source` tells.

    rest_bytes: in use between runs, of ONNX Runtime's arena; weights in an ExecuTorch program. reserved_bytes: of the
    arena, or planned by the exporter. used_bytes: the most in use at once, None where nothing tells. entries: the
    largest first.
    """

    source: str
    rest_bytes: int
    reserved_bytes: int
    used_bytes: int | None
    entries: list[Live]


def graph_memory(path: str | Path, backend: str, threads: int = 1) -> GraphMemory | None:
    """Of the graph of a bundle for `backend`, None where that tells nothing; InputError for a program that cannot be
    read."""
    read = _READ.get(backend)
    return read(open_bundle(Path(path)), threads) if read else None


def _executorch(bundle: Any, threads: int) -> GraphMemory:
    file = bundle.graph_path(EXECUTORCH.name)
    return planned(file.read_bytes(), str(file))


def _onnx(bundle: Any, threads: int) -> GraphMemory:
    return used(profiler_events(bundle, threads, 0, least=3))


_READ: dict[str, Callable[[Any, int], GraphMemory]] = {ONNX.name: _onnx, EXECUTORCH.name: _executorch}


def used(events: Iterable[dict[str, Any]]) -> GraphMemory:
    """Of the profiler's events (its JSON): the last run, when all is as it stays."""
    events = list(events)
    last = max(e["ts"] for e in events if e.get("cat") == "Session" and e["name"] == "model_run")
    live: dict[str, Live] = {}
    held = most = 0
    rest: int | None = None
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time") or event["ts"] < last:
            continue
        args, layer = event["args"], event["name"].removesuffix("_kernel_time")
        # the counter is read after the layer, when its inputs still live
        in_use = int(args.get("mem_bytes_in_use", 0))
        if rest is None:
            rest = in_use - int(args.get("mem_in_use_delta", 0))
        most, held = max(most, in_use), max(held, int(args.get("mem_arena_held", 0)))
        kind = kind_of(args["op_name"])
        if in_use and (kind not in live or in_use > live[kind].bytes):
            live[kind] = Live(kind, in_use, layer)
    entries = sorted(live.values(), key=lambda entry: -entry.bytes)
    return GraphMemory("onnxruntime profiler", rest or 0, held, most, entries)


def planned(program: bytes, name: str) -> GraphMemory:
    """Of an ExecuTorch program (.pte): its weights, and the buffers that the exporter planned for its activations.

    What XNNPACK allocates by itself inside its subgraphs, and its packed copies of the weights, stand nowhere in it.
    """
    try:
        if program[4:6] != b"ET":  # and two digits
            raise ValueError("another identifier")
        root = _Table(program, *struct.unpack_from("<I", program))
        buffers = sum(size for plan in root.tables(_PLANS) for size in plan.longs(_BUFFER_SIZES))
        segments = sum(segment.long(_SIZE) for segment in root.tables(_SEGMENTS))
    except (ValueError, struct.error) as error:
        raise InputError(f"{name} is no ExecuTorch program, or a damaged one") from error
    return GraphMemory("executorch program", segments, buffers, None, [])


class _Table:
    """A table of a FlatBuffer; its fields by their place in the schema, empty where left out."""

    def __init__(self, content: bytes, position: int):
        self._table = Table(content, position)

    def tables(self, field: int) -> list[_Table]:
        return [_Table(self._table.Bytes, self._table.Indirect(at)) for at in self._elements(field, 4)]

    def longs(self, field: int) -> list[int]:
        return [self._table.Get(Int64Flags, at) for at in self._elements(field, 8)]

    def long(self, field: int) -> int:
        return self._table.GetSlot(4 + 2 * field, 0, Uint64Flags)

    def _elements(self, field: int, size: int) -> range:
        """Where the elements of a vector lie."""
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return range(0)
        start = self._table.Vector(offset)
        return range(start, start + size * self._table.VectorLen(offset), size)
