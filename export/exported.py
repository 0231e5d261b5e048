"""What an exporter gives back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """A graph as a file.

    ops: its nodes by type; achieved: the precision that each weighted layer got; delegated_macs: ExecuTorch only, the
    share of multiply-accumulates that the backend's kernels compute; least_runtime: the first release of the backend's
    runtime that reads the file.
    """

    data: bytes
    ops: dict[str, int]
    achieved: dict[str, str]
    delegated_macs: float | None = None
    least_runtime: str | None = None
