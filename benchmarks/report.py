"""A benchmark report as the JSON of report.schema.json, and from it."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge import __version__
from edge.benchmarks.documents import read_json
from edge.benchmarks.machine import fingerprint, processor_ticks, steal_share, temperatures
from edge.benchmarks.runner import Report, Result
from edge.benchmarks.stats import paired_ratio
from edge.errors import EdgeError, InputError

SCHEMA_VERSION = "1.0"
REQUIRED = ("tool", "machine", "settings", "results", "failures")

Content = dict[str, Any]


class Watch:
    """The machine over the time of a measurement: make one before, ask for `machine()` after."""

    def __init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        self._machine = fingerprint()
        self._thermal, self._ticks = temperatures(), processor_ticks()

    def machine(self) -> dict[str, Any]:
        """`machine` of report.schema.json."""
        thermal = {"start": self._thermal, "end": temperatures()} if self._thermal else None
        return self._machine | {"thermal": thermal, "steal_share": steal_share(self._ticks, processor_ticks())}


def content(watch: Watch, report: Report, tool: str, command: Sequence[str], **settings: Any) -> Content:
    """The report as JSON content; `settings` are those of the schema that the report does not know."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": tool, "version": __version__, "command": " ".join(command), "started": watch.started},
        "machine": watch.machine(),
        "settings": {"rounds": report.rounds, "order": "random"} | settings,
        "results": [dataclasses.asdict(result) for result in report.results],
        "peaks": [dataclasses.asdict(peak) for peak in report.peaks],
        "failures": [
            {"bundle": f.bundle, "backend": f.backend, "threads": f.threads, "error": f.error} for f in report.failures
        ],
    }


def compare_to(results: Sequence[Result], baseline: str) -> None:
    """Fill in each result's ratio to `baseline`, BUNDLE[:BACKEND[:THREADS]] (what is left out is as in the result).

    Raises InputError where no result is that of the baseline's bundle.
    """
    bundle, _, rest = baseline.partition(":")
    backend, _, threads = rest.partition(":")
    same_bundle = [r for r in results if _same_place(r.bundle, bundle)]
    if not same_bundle:
        raise InputError(f"--baseline {baseline}: not among the bundles that were measured")
    for result in results:
        wanted = (backend or result.backend, threads or str(result.threads))
        match = next((r for r in same_bundle if (r.backend, str(r.threads)) == wanted), None)
        result.ratio = paired_ratio(result.rtf_rounds, match.rtf_rounds) if match else None


def _same_place(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def load(path: Path) -> Content:
    """Read a report; InputError where it is none, or of another major version."""
    found = read_json(path)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, str) or any(not isinstance(found.get(key), dict | list) for key in REQUIRED):
        raise InputError(f"{path} is no report of edge-bench (see report.schema.json)")
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise InputError(f"{path}: report version {version} is not supported, this stem-edge reads {SCHEMA_VERSION}")
    return found


def labels(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call each result's bundle: its folder's name, or the path where two have the same."""
    paths = {result["bundle"] for result in results}
    names = [Path(path).name.removesuffix(".edge") for path in paths]
    short = len(set(names)) == len(names)
    return [Path(r["bundle"]).name.removesuffix(".edge") if short else r["bundle"] for r in results]


def raise_failures(report: Report) -> None:
    """EdgeError for the first failure: for measurements that are worth nothing unless complete."""
    for failure in report.failures:
        raise EdgeError(failure.error)
