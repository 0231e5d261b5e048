"""Speed, memory, latency, size and quality of peers and our bundles, in interleaved rounds of one run."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge import samples
from edge.benchmarks.machine import fingerprint
from edge.benchmarks.peers.catalogue import Peer
from edge.benchmarks.peers.client import Launch, Process, bundle_launch, peer_launch, start
from edge.benchmarks.stats import paired_ratio
from edge.bundle import open_bundle
from edge.errors import EdgeError
from edge.metrics import sdr, si_sdr

ROUNDS = 5
SEGMENT_SECONDS = 7.8  # what separators get in a round: the released HT Demucs's segment

Progress = Callable[[str], None]


def measure(
    peers: Sequence[Peer],
    bundles: Sequence[Path],
    threads: int = 1,
    rounds: int = ROUNDS,
    seconds: float = 2.0,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """The report: machine, settings, and a row for each bundle and peer under "enhance" and "separate".

    Every system lives in a process of its own; all of one task are alive together and take turns, `seconds` of audio
    a round for enhancers (hop by hop where they stream), one segment of 7.8 s for separators. What is not installed
    or fails is under "failures" with one line. `ratio` compares with the first bundle of the task, paired by round.
    """
    report: dict[str, Any] = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": fingerprint()}
    report |= {"settings": {"threads": threads, "rounds": rounds, "seconds": seconds}, "failures": []}
    for task, span in (("enhance", seconds), ("separate", SEGMENT_SECONDS)):
        launches: list[tuple[Launch, dict[str, Any]]] = []
        for path in bundles:
            manifest = open_bundle(path).manifest
            if manifest.task == task:
                for backend in manifest.graphs:
                    title = f"{manifest.name}, {manifest.graphs[backend].made_in()}, {backend}"
                    about = {"title": title, "ours": True, "license": manifest.weights_license, "weights": True}
                    launches.append((bundle_launch(f"{path.name}-{backend}", path, backend), about))
        for peer in peers:
            if peer.task != task:
                continue
            try:
                launch = peer_launch(peer)
            except EdgeError as error:
                report["failures"].append(str(error))
                continue
            about = {"title": peer.title, "ours": False, "license": peer.license, "weights": peer.weights}
            launches.append((launch, about | {"note": peer.note}))
        report[task] = _task(launches, threads, rounds, span, report["failures"], progress)
    return report


def _task(launches, threads, rounds, seconds, failures, progress) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        running: list[tuple[Process, dict[str, Any], list[float], list[float]]] = []
        for launch, about in launches:
            try:
                process = stack.enter_context(start(launch, threads))
                process.ask({"op": "time", "seconds": seconds})  # warm-up
                running.append((process, about, [], []))
            except EdgeError as error:
                failures.append(str(error))
            progress(launch.name)
        for number in range(rounds):
            for entry in list(running):
                process, _, rtfs, hops = entry
                try:
                    answer = process.ask({"op": "time", "seconds": seconds})[0]
                    rtfs.append(answer["seconds"] / answer["audio_seconds"])
                    hops.extend(answer["hops"])
                except EdgeError as error:
                    failures.append(str(error))
                    running.remove(entry)
                progress(f"round {number + 1} {process.name}")
        baseline = next((rtfs for _, about, rtfs, _ in running if about["ours"]), None)
        for process, about, rtfs, hops in running:
            peak = process.peak_bytes()  # before the quality run, which takes longer recordings
            try:
                row = {"name": process.name} | about | _figures(process, rtfs, hops) | {"peak_bytes": peak}
                row["quality"] = _quality(process) if about["weights"] else None
            except EdgeError as error:
                failures.append(str(error))
                continue
            if baseline is not None:
                ratio = paired_ratio(rtfs, baseline)
                row["ratio"] = [round(value, 4) for value in (ratio.value, ratio.low, ratio.high)]
            rows.append(row)
            progress(f"quality {process.name}")
    return rows


def _figures(process: Process, rtfs: list[float], hops: list[float]) -> dict[str, Any]:
    about = process.about
    row = {key: about[key] for key in ("version", "rate", "size_bytes", "load_seconds")}
    row |= {"latency_seconds": process.latency_seconds, "rtf": statistics.median(rtfs), "rtf_rounds": rtfs}
    if about["channels"] == 1 and hops:
        names = ("p50", "p95", "p99", "max")
        values = np.percentile(hops, [50, 95, 99, 100])
        row["hop"] = {"seconds": about["hop"] / about["rate"]} | dict(zip(names, map(float, values), strict=True))
    return row


def _quality(process: Process) -> dict[str, float]:
    """On the recordings that ship with the package, which nobody trained on; larger sets are edge-eval's."""
    if process.about["channels"] == 1:
        noisy, clean = samples.speech()
        estimate = process.run(noisy[None], 16000)[0, 0]
        return {"input_si_sdr": si_sdr(clean, noisy), "si_sdr": si_sdr(clean, estimate)}
    mix, stems = samples.song()
    estimates = dict(zip(process.about["sources"], process.run(mix, 44100), strict=True))
    values = {s: sdr(stem, estimates[s]) for s, stem in zip(samples.STEMS, stems, strict=True) if s in estimates}
    before = {f"input_{s}": sdr(stem, mix) for s, stem in zip(samples.STEMS, stems, strict=True)}
    return before | values
