"""What a runtime must know of a model: how its graph is fed, and nothing about how it came to be."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edge.errors import InputError

TASKS = ("separate", "enhance")
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
OVERLAP = 0.25  # of neighbouring segments of a separator, as in the apply loop of demucs


@dataclass(frozen=True)
class TensorSpec:
    """One input, output or state of the graph: its shape is static."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Task, audio and tensors of a graph; lengths in samples at `sample_rate` Hz. See docs/bundle.md.

    segment: of a separator. delay: of an enhancer's output beyond its hop. states: those of the inputs that the
    graph gives back as `next_NAME`. Raises InputError for values that contradict each other.
    """

    task: str
    sources: list[str]
    sample_rate: int
    channels: int
    hop: int
    latency_samples: int
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    segment: int | None = None
    delay: int = 0
    states: list[TensorSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_interface(self)


def separation_interface(sources: list[str], sample_rate: int, channels: int, segment: int) -> Interface:
    """Of a separator that takes `segment` samples at a time: waveform in, stems out, no state."""
    return Interface(
        task="separate",
        sources=sources,
        sample_rate=sample_rate,
        channels=channels,
        segment=segment,
        hop=int((1 - OVERLAP) * segment),
        latency_samples=segment,
        inputs=[TensorSpec("mix", (1, channels, segment))],
        outputs=[TensorSpec("stems", (1, len(sources), channels, segment))],
    )


def enhancement_interface(
    sample_rate: int, hop: int, delay: int = 0, states: list[TensorSpec] | None = None, source: str = "speech"
) -> Interface:
    """Of an enhancer: a hop in, a hop out, `delay` samples later than its own, the states from run to run."""
    states = states or []
    return Interface(
        task="enhance",
        sources=[source],
        sample_rate=sample_rate,
        channels=1,
        hop=hop,
        delay=delay,
        latency_samples=hop + delay,
        states=states,
        inputs=[TensorSpec("audio", (1, hop)), *states],
        outputs=[TensorSpec("enhanced", (1, hop)), *(TensorSpec(f"next_{s.name}", s.shape, s.dtype) for s in states)],
    )


def check_interface(i: Interface) -> None:
    """Raise InputError, naming the key, where the values of `i` cannot describe a graph."""
    need(i.task in TASKS, f"task is {i.task!r}, not one of {', '.join(TASKS)}")
    for key in ("sample_rate", "channels", "hop"):
        need(getattr(i, key) > 0, f"{key} must be positive")
    need(i.delay >= 0 and i.latency_samples >= 0, "delay and latency_samples must not be negative")
    need(len(i.sources) > 0, "sources is empty")
    need(len(set(i.sources)) == len(i.sources), "sources holds a name twice")
    for source in i.sources:  # each becomes a file name
        valid = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", source)
        need(valid is not None, f"source {source!r} must be letters, digits, - and _")
    for spec in [*i.inputs, *i.outputs, *i.states]:
        need(spec.dtype in DTYPES, f"tensor {spec.name} has unknown dtype {spec.dtype!r}")
        need(all(n > 0 for n in spec.shape), f"tensor {spec.name} has a dimension below 1")
    if i.task == "separate":
        need(i.segment is not None and i.segment > 0, "segment must be positive")
        assert i.segment is not None
        need(i.hop <= i.segment, "hop is longer than segment")
        expected_in: list[tuple[str, tuple[int, ...]]] = [("mix", (1, i.channels, i.segment))]
        expected_out: list[tuple[str, tuple[int, ...]]] = [("stems", (1, len(i.sources), i.channels, i.segment))]
    else:
        need(i.channels == 1, "channels must be 1 (each channel of a recording is enhanced on its own)")
        states = [(s.name, s.shape) for s in i.states]
        expected_in = [("audio", (1, i.hop)), *states]
        expected_out = [("enhanced", (1, i.hop)), *((f"next_{name}", shape) for name, shape in states)]
    need([(s.name, s.shape) for s in i.inputs] == expected_in, f"inputs must be {expected_in}")
    need([(s.name, s.shape) for s in i.outputs] == expected_out, f"outputs must be {expected_out}")


def need(condition: bool, message: str) -> None:
    """Raise InputError with `message` where `condition` does not hold."""
    if not condition:
        raise InputError(message)
