"""The manifest of a bundle as dataclasses, and its validated way from and to JSON (see docs/bundle.md)."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from edge.backends import BACKENDS
from edge.errors import InputError
from edge.interface import Interface, check_interface, need

FORMAT_VERSION = "1.0"
MIXED = "mixed"  # a bundle whose graphs are of several precisions


@dataclass(frozen=True)
class LayerRecord:
    """One weighted layer: what its weights were stored as, and why where that was a decision."""

    name: str
    kind: str
    precision: str
    reason: str = ""


@dataclass(frozen=True)
class GraphRecord:
    """One graph file. `precision` is what it was made in; `bytes` is filled in by `write_bundle`; `ops` counts the
    graph's nodes by type; `delegated_macs` is the share of multiply-accumulates in XNNPACK's kernels (ExecuTorch; null
    for ONNX); `least_runtime` is the first release of its runtime that reads the file."""

    file: str
    precision: str = ""
    bytes: int = 0
    weight_bytes: int = 0
    ops: dict[str, int] = field(default_factory=dict)
    layers: list[LayerRecord] = field(default_factory=list)
    delegated_macs: float | None = None
    least_runtime: str | None = None

    @property
    def half(self) -> bool:
        """Whether the graph computes in fp16, which not every processor does."""
        return any(layer.precision == "fp16" for layer in self.layers)

    def made_in(self) -> str:
        """`precision`; of a bundle that does not tell, as older ones, what its layers tell."""
        found = {layer.precision.split("-")[0] for layer in self.layers} - {"fp32"}
        return self.precision or ("fp16" if self.half else min(found, default="fp32"))

    def int8_layers(self) -> int:
        return sum(layer.precision.startswith("int8") for layer in self.layers)

    def delegation(self) -> str:
        """What XNNPACK took of an ExecuTorch program, in words."""
        outside = [f"{count} {op}" for op, count in self.ops.items() if op not in ("delegated", "subgraphs")]
        macs = "" if self.delegated_macs is None else f", {100 * self.delegated_macs:.1f} % of the multiply-accumulates"
        return (
            f"{self.ops.get('delegated', 0)} ops in {self.ops.get('subgraphs', 0)} XNNPACK subgraphs{macs}; outside "
            f"them {', '.join(outside) or 'none'}"
        )


@dataclass(frozen=True)
class BeforeAfter:
    """A count before and after compression."""

    before: float
    after: float


@dataclass(frozen=True)
class Compression:
    """What was removed, the training after it, and how int8 was chosen.

    macs_per_second: of the weighted layers, for one second of audio; attention_macs_per_second: of the products
    between tokens, which weigh nothing. cpu: the processor that int8 was chosen for; calibration: the audio that
    static int8 took its ranges from. Both are null where nothing was quantized so.
    """

    prune_ratio: float
    parameters: BeforeAfter
    macs_per_second: BeforeAfter
    attention_macs_per_second: BeforeAfter = BeforeAfter(0, 0)
    recovery: dict[str, Any] | None = None
    cpu: str | None = None
    calibration: dict[str, Any] | None = None


@dataclass(frozen=True)
class Quality:
    """A metric of the unprocessed input, the network before and after compression; None: not measured."""

    metric: str
    reference: str
    unit: str
    values: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class GoldenInput:
    """Raw little-endian float32: `(channels, n)` for separate, `(n,)` for enhance."""

    file: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GoldenOutput:
    """Raw little-endian float32 of one graph's strided output, and the SNR that a device must reach."""

    file: str
    shape: tuple[int, ...]
    min_snr_db: float


@dataclass(frozen=True)
class Golden:
    """A short input and what each graph makes of it; only every `stride`-th sample of the output is kept."""

    input: GoldenInput
    outputs: dict[str, GoldenOutput]
    stride: int = 1


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 (hex) of one file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest(Interface):
    """How to run one model and how it came to be; the fields are those of docs/bundle.md.

    Raises InputError when built from values that contradict each other.
    """

    name: str
    precision: str
    graphs: dict[str, GraphRecord]
    compression: Compression
    quality: Quality
    golden: Golden
    weights_license: str
    training_data: str
    parity: dict[str, float] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    agreement: dict[str, Any] | None = None
    files: dict[str, FileRecord] = field(default_factory=dict)
    format_version: str = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_interface(self)
        check_manifest(self)

    def to_json(self) -> str:
        """This manifest as JSON text; NaN and infinities are refused, for most JSON readers know neither."""
        try:
            first = {"format_version": self.format_version, "name": self.name}
            data = first | dataclasses.asdict(self)
            return json.dumps(data, indent=2, allow_nan=False) + "\n"
        except ValueError as error:
            raise InputError(f"the manifest of {self.name} holds a NaN or infinite number") from error


def parse_manifest(text: str, where: str) -> tuple[Manifest, list[str]]:
    """JSON text to a checked Manifest, and the names of unknown keys.

    `where` names the bundle in errors. Raises InputError for malformed JSON, another major version (both
    versions named), missing keys, wrong types and contradictions.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: manifest.json is not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise InputError(f"{where}: manifest.json holds no JSON object")
    check_version(data.get("format_version"), where)
    unknown: list[str] = []
    try:
        return _decode(Manifest, data, "", unknown), unknown
    except InputError as error:
        raise InputError(f"{where}: malformed manifest.json: {error}") from error


def check_version(version: Any, where: str) -> None:
    """Refuse a manifest of another major format version, before anything else of it is looked at."""
    match = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", version) if isinstance(version, str) else None
    if match is None:
        raise InputError(f"{where}: manifest.json has no valid format_version (this is {FORMAT_VERSION})")
    if match[1] != FORMAT_VERSION.split(".")[0]:
        raise InputError(
            f"{where}: bundle format version {version} is not supported, this stem-edge reads "
            f"{FORMAT_VERSION}; update stem-edge or export the bundle again"
        )


def safe_relative(path: str) -> bool:
    """Whether `path` stays inside the bundle on every system: relative, forward slashes, no `..`."""
    parts = PurePosixPath(path).parts
    bad = set(path) & set('\\:\0"<>|?*')
    return bool(parts) and path == "/".join(parts) and ".." not in parts and not bad


def check_manifest(m: Manifest) -> None:
    """Raise InputError, naming the key, where the records of `m` cannot describe a bundle."""
    for precision in [m.precision, *(graph.precision or m.precision for graph in m.graphs.values())]:
        name = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", precision)
        need(name is not None, f"precision {precision!r} must be letters, digits, -, . and _")
    need(len(m.graphs) > 0, "graphs is empty")
    need(m.golden.stride > 0, "golden stride must be positive")
    for format in [*m.graphs, *m.golden.outputs]:
        need(format in BACKENDS, f"unknown graph format {format!r}, not one of {', '.join(BACKENDS)}")
    need(set(m.graphs) == set(m.golden.outputs), "golden.outputs must have one entry for each graph")
    for output in m.golden.outputs.values():
        need(bool(output.shape) and min(output.shape) > 0, f"{output.file} has a bad shape")
    shape = m.golden.input.shape
    if m.task == "separate":
        need(len(shape) == 2 and min(shape) > 0 and shape[0] == m.channels, "golden.input: not (channels, n)")
    else:
        need(len(shape) == 1 and shape[0] > 0, "golden.input: not (n,)")
        need(shape[0] % m.hop == 0, "the length of golden.input must be a multiple of hop")
    for path in [*referenced_files(m), *m.files]:
        need(safe_relative(path) and path != "manifest.json", f"unsafe file path {path!r}")
    for path, record in m.files.items():
        need(record.bytes >= 0, f"{path} has a negative size")
        need(re.fullmatch(r"[0-9a-f]{64}", record.sha256) is not None, f"{path} has no SHA-256")
    if m.files:  # empty only until write_bundle fills it in
        for path in referenced_files(m):
            need(path in m.files, f"{path} is used but not listed in files")
        tensors: list[GoldenInput | GoldenOutput] = [m.golden.input, *m.golden.outputs.values()]
        for tensor in tensors:
            size = 4 * math.prod(tensor.shape)
            need(m.files[tensor.file].bytes == size, f"{tensor.file} is not {size} bytes as its shape says")


def referenced_files(m: Manifest) -> list[str]:
    """Paths inside the bundle that the manifest's own records use."""
    golden = [m.golden.input.file, *(output.file for output in m.golden.outputs.values())]
    return [*(graph.file for graph in m.graphs.values()), *golden]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _decode(kind: Any, value: Any, key: str, unknown: list[str]) -> Any:
    """`value` (from JSON) as an instance of the annotated type `kind`; InputError names the key otherwise."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, key, unknown)
    if origin in (types.UnionType, typing.Union):  # X | None is the only union used
        inner = next(a for a in arguments if a is not type(None))
        return None if value is None else _decode(inner, value, key, unknown)
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_decode(arguments[0], item, f"{key}[{i}]", unknown) for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {k: _decode(arguments[1], item, f"{key}.{k}", unknown) for k, item in value.items()}
    if kind is Any:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str) and isinstance(value, kind) and not isinstance(value, bool):
        return value
    expected = {list: "a list", tuple: "a list", dict: "an object", int: "an integer", float: "a number"}
    raise InputError(f"{key} must be {expected.get(origin or kind, 'a string')}")


def _decode_dataclass(kind: Any, value: Any, key: str, unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{key} must be an object")
    prefix = f"{key}." if key else ""
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown.extend(f"{prefix}{name}" for name in value if name not in known)
    for name, f in known.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise InputError(f"{prefix}{name} is missing")
    return kind(**{n: _decode(hints[n], v, f"{prefix}{n}", unknown) for n, v in value.items() if n in known})
