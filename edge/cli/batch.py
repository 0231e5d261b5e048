"""edge-run on recordings: one after the other, with progress, a closing line, and a report of every one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.bundle import Manifest
from edge.console import PassBars, fail
from edge.errors import EdgeError, InputError
from edge.runtime.batch import Job, Places, plan
from edge.runtime.files import FileOptions, FileReport, Run


def run_batch(
    run: Run,
    manifest: Manifest,
    inputs: Sequence[Path],
    places: Places,
    options: FileOptions,
    args: argparse.Namespace,
) -> int:
    """The exit code: the worst of all recordings. A failure does not stop the others."""
    jobs = plan(manifest, inputs, places, options)
    code, entries = 0, []
    for number, job in enumerate(jobs, 1):
        entry: dict[str, Any] = {"input": str(job.source), "status": "done"}
        try:
            if args.resume and len(job.there) == len(job.files):
                entry["status"] = "skipped"
                print(f"{job.target} is there: {job.source} is skipped", file=sys.stderr)
            else:
                report = _one(run, job, f"file {number} of {len(jobs)}, " if len(jobs) > 1 else "", args)
                entry |= dataclasses.asdict(report)
                if not args.json:
                    _print(manifest, report)
        except EdgeError as error:
            code = max(code, fail("edge-run", error, error.exit_code))
            entry |= {"status": "failed", "error": str(error)}
        entries.append(entry)
    if args.json:
        print(json.dumps(entries if len(entries) != 1 else entries[0], indent=2))
    elif len(entries) > 1:
        print(_closing(entries))
    return code


def _one(run: Run, job: Job, place: str, args: argparse.Namespace) -> FileReport:
    if job.chosen and job.there and not args.overwrite and not args.resume:
        there = job.there[0]
        raise InputError(
            f"{there} exists; --overwrite replaces it, --resume skips what is done, -o names another place"
        )
    with PassBars(place) as bars:
        run.progress = bars
        return run.file(job.source, job.target, keep=args.resume)


def _print(manifest: Manifest, report: FileReport) -> None:
    seconds = report.frames / report.sample_rate
    print(
        f"{manifest.name} ({report.backend}, {report.threads} thread(s)): {seconds:.1f} s of audio in "
        f"{report.run_seconds:.1f} s, RTF {report.rtf:.3f}"
    )
    for output in report.outputs:
        print(output)


def _closing(entries: Sequence[dict[str, Any]]) -> str:
    counts = {status: sum(entry["status"] == status for entry in entries) for status in ("done", "skipped", "failed")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count or status == "done")
    reasons = "; ".join(" ".join(entry["error"].split()) for entry in entries if "error" in entry)
    return f"{len(entries)} recordings: {told}" + (f" ({reasons})" if reasons else "")
