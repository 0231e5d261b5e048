"""Rounds over processes that take turns: heat, load and the neighbours of a virtual machine hit all alike.

Where code and data happen to lie in memory can make a process a few percent faster for as long as it lives, so the
rounds are spread over several launches of each process.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from edge.errors import EdgeError, InputError

MIN_ROUNDS, MAX_ROUNDS = 6, 60
SLICE_SECONDS = 0.1  # the shortest share of a round; much shorter, and cold caches would be measured
DIED = "the process died; the graph crashed it"

Progress = Callable[[float, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """What could not be measured, in one line, with the exit code of its kind."""

    bundle: str
    backend: str | None
    threads: int | None
    error: str
    exit_code: int


@dataclass
class Participant:
    """What takes part in the rounds: a function that runs in a process of its own.

    `target(connection, *arguments)` speaks the protocol of `worker.answer_requests`; a request 1 gives a list of
    seconds, of which one round is made. `launches` has what each process told of itself, `rounds` a list a round.
    """

    label: str
    target: Callable[..., None]
    arguments: tuple[Any, ...]
    place: tuple[str, str | None, int | None] = ("", None, None)  # as in Failure; its name by default
    adapts: bool = False  # runs as often in a round as its share of the time allows
    launches: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[list[float]] = field(default_factory=list)
    runs: int = 1
    warm: float = 0.0  # seconds of a round with one run
    connection: Connection | None = None
    failed: bool = False

    @property
    def told(self) -> dict[str, Any]:
        """What its processes told, the last one's where they differ."""
        return {key: value for launch in self.launches for key, value in launch.items()}

    def failure(self, error: EdgeError) -> Failure:
        """With its place in the text, where that does not say it."""
        name, backend, threads = self.place if self.place[0] else (self.label, None, None)
        place = f"{name} ({backend}): " if backend else f"{name}: "
        text = str(error) if name in str(error) else place + str(error)
        return Failure(name, backend, threads, text, error.exit_code)

    def ask(self, request: Any) -> Any:
        """Its process's answer; EdgeError where that fails or dies."""
        assert self.connection is not None
        try:
            self.connection.send(request)
        except OSError as error:
            raise EdgeError(DIED) from error
        return self.receive()

    def receive(self) -> Any:
        """What its process sends by itself, when it begins."""
        assert self.connection is not None
        try:
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise EdgeError(DIED) from error
        if isinstance(answer, dict) and "error" in answer:
            raise (InputError if answer["exit_code"] == 2 else EdgeError)(answer["error"])
        return answer


def run_alone(function: Callable[..., T], *arguments: Any) -> T:
    """What the function gives in a process of its own; raises what it raises, EdgeError where the process dies."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise EdgeError(DIED) from error


class Rounds:
    """The rounds over all participants, in several launches; fills them in, and `failures` and `count`."""

    def __init__(self, members: list[Participant], launches: int, seed: int, progress: Progress | None):
        self._members, self._launches = members, launches
        self._order = random.Random(seed)
        self._progress, self._steps, self._total = progress, 0, launches * len(members) * MAX_ROUNDS
        self.failures: list[Failure] = []
        self.count = 0

    def run(self, seconds: float) -> None:
        """About `seconds` of each; what fails is left out from there on."""
        for launch in range(self._launches):
            with contextlib.ExitStack() as stack:
                for member in list(self._members):  # not side by side: they would disturb each other's load times
                    member.connection = stack.enter_context(_process(member.target, member.arguments))
                    self._each(member, _load)
                if launch == 0:
                    self._plan(seconds)
                count = self.count // self._launches + (launch < self.count % self._launches)
                for _ in range(count):
                    for member in self._order.sample(self._members, len(self._members)):
                        self._each(member, lambda m: m.rounds.append(m.ask(m.runs)))
                for member in list(self._members):
                    self._each(member, _end)

    def _each(self, member: Participant, action: Callable[[Participant], None]) -> None:
        """A member whose process fails is dropped, and the failure recorded."""
        try:
            action(member)
        except EdgeError as error:
            self.failures.append(member.failure(error))
            member.failed = True
            self._members.remove(member)
        self._steps += 1
        if self._progress is not None:
            self._progress(min(1.0, self._steps / self._total), member.label)

    def _plan(self, seconds: float) -> None:
        slowest = max((member.warm for member in self._members), default=1.0)
        rounds = min(MAX_ROUNDS, int(seconds / max(SLICE_SECONDS, slowest)))
        self.count = rounds = max(MIN_ROUNDS, self._launches, rounds)
        self._total = len(self._members) * (2 * self._launches + rounds)
        for member in self._members:
            if member.adapts:
                member.runs = max(1, math.ceil(seconds / rounds / max(member.warm, 1e-6)))


def _load(member: Participant) -> None:
    member.launches.append(member.receive())
    member.ask(1)  # the second run of the warm-up says how many fit into a round
    member.warm = member.warm or sum(member.ask(1))


def _end(member: Participant) -> None:
    if member.adapts:
        member.launches[-1] |= member.ask("overhead") or {}
    member.launches[-1] |= member.ask(None)


@contextlib.contextmanager
def _process(target: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's memory and thread pools
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # so that a crash of the process ends the pipe
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=5)
        process.kill()
