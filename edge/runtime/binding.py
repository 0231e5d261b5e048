"""A graph on the buffers of one stream, and what a runtime has to offer for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from edge.interface import Interface


class Binding(Protocol):
    """A graph on one stream's own buffers: write `input`, `run()`, read `output`; the states stay inside."""

    input: np.ndarray

    @property
    def output(self) -> np.ndarray:
        """Valid until the next run."""
        ...

    def run(self) -> None: ...

    def reset(self) -> None:
        """Set the states to zero."""
        ...


class Runtime(Protocol):
    """A loaded graph as its backend gives it; failures are the backend's own exceptions."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]: ...

    def bind(self, interface: Interface) -> Binding: ...


class Carried:
    """The states of one run are the inputs of the next as the runtime gave them, without a copy."""

    def __init__(
        self,
        interface: Interface,
        run: Callable[[list[Any]], list[Any]],
        wrap: Callable[[np.ndarray], Any] = lambda array: array,
        unwrap: Callable[[Any], np.ndarray] = lambda array: array,
    ):
        first, *states = [np.zeros(spec.shape, spec.dtype) for spec in interface.inputs]
        self._run, self._unwrap = run, unwrap
        self._zeros = [wrap(state) for state in states]
        self.input = first
        self._inputs = [wrap(first), *self._zeros]
        self.output = self._silence = np.zeros(interface.outputs[0].shape, np.float32)
        self._first_run = True

    def run(self) -> None:
        self.output = self._silence  # the last one's memory is free for the next
        outputs = self._run(self._inputs)
        output = self._unwrap(outputs[0])
        if self._first_run:
            shapes = [tuple(zero.shape) for zero in self._zeros]
            if output.shape != self.output.shape or [tuple(o.shape) for o in outputs[1:]] != shapes:
                raise ValueError("it does not give the outputs that the manifest lists")
            self._first_run = False
        self.output = output
        self._inputs[1:] = outputs[1:]

    def reset(self) -> None:
        self._inputs[1:] = self._zeros
