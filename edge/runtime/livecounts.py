"""What happened in a live run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class LiveCounts:
    """What happened so far; frames at the device's rate."""

    frames: int = 0  # played
    late_blocks: int = 0
    late_hops: int = 0
    late_frames: int = 0
    skips: int = 0  # times that the worker gave up what it had missed
    jumps: int = 0  # times that playing changed its place, as the devices had moved apart
    jumped_frames: int = 0  # of the jumps forward: captured, but never played
    xruns: int = 0
    lost_frames: int = 0  # that the device captured and lost; a recording has silence for them
    reconnects: int = 0
    busy_seconds: float = 0.0
    worked_frames: int = 0

    def __post_init__(self) -> None:
        self.restart()

    @property
    def late_share(self) -> float:
        return self.late_frames / self.frames if self.frames else 0.0

    def restart(self) -> None:
        """Positions begin at 0 again."""
        self._last_late_hop = -1

    def late(self, start: int, end: int, hop: float) -> None:
        """Positions start .. end of a block had no result in time; hop: frames of the model's."""
        self.late_blocks += 1
        self.late_frames += end - start
        first = max(int(start / hop), self._last_late_hop + 1)
        last = int((end - 1) / hop)
        self.late_hops += max(0, last - first + 1)
        self._last_late_hop = max(last, self._last_late_hop)
