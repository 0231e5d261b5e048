"""What the figures of a report mean for who deploys a bundle: a sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def verdicts(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each bundle, of its fastest case: whether it runs live here, and at what cost."""
    best: dict[str, Mapping[str, Any]] = {}
    for name, result in zip(names, results, strict=True):
        if name not in best or result["rtf"] < best[name]["rtf"]:
            best[name] = result
    return [_sentence(name, result) for name, result in best.items()]


def _sentence(name: str, r: Mapping[str, Any]) -> str:
    """Live: 99 of 100 hops are ready before the next has come."""
    where = f"{r['backend']}, {r['threads']} thread{'s' if r['threads'] > 1 else ''}"
    late, hop = r["hop_time"]["p99"], r["hop_seconds"]
    if r["rtf"] >= 1:
        return f"{name} does not run live here ({where}): it takes {r['rtf']:.2g} times as long as the audio lasts."
    if late > hop:
        return f"{name} does not run live here ({where}): one hop in a hundred takes {_time(late)} of {_time(hop)}."
    cores = "of a core" if r["threads"] == 1 else f"of {r['threads']} cores"
    memory = f", {r['peak_bytes'] / 1e6:.0f} MB of memory" if r["peak_bytes"] else ""
    latency = f"{_time(r['latency_seconds'])} of latency"
    return f"{name} runs live here ({where}): {100 * r['rtf']:.2g} % {cores}{memory}, {latency}."


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
