"""Each precision and runtime on audio that is no usual recording:

    python -m edge.benchmarks.odd_audio BUNDLE... [--save]

Bundles of one name are compared: with the ONNX graph of the fp32 one, which each of the others should follow about as
well as on a usual recording, whatever it is given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edge.benchmarks
from edge import samples
from edge.benchmarks.documents import write_json
from edge.benchmarks.machine import machine_line
from edge.benchmarks.peers.ours import through
from edge.benchmarks.quality.metrics import level_dbfs
from edge.benchmarks.report import Watch
from edge.benchmarks.tables import columns
from edge.bundle import Bundle, open_bundle, snr_db
from edge.console import run_command
from edge.errors import EdgeError, InputError
from edge.runtime.graphs import load_graph

NAME = "python -m edge.benchmarks.odd_audio"
STORED = Path(edge.benchmarks.__file__).parent.parent / "docs" / "results" / "odd_audio.json"
SECONDS = 6
USUAL = "usual recording"
MARGIN_DB = 3.0  # of the usual SNR that odd audio may cost
_SILENT_DB = -80.0


def at_level(audio: np.ndarray, dbfs: float) -> np.ndarray:
    return audio * 10 ** (dbfs / 20) / np.sqrt(np.mean(audio**2))


def squares(audio: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.where(np.arange(audio.shape[-1]) // 50 % 2, 1.0, -1.0), audio.shape)


def clicks(audio: np.ndarray) -> np.ndarray:
    out = np.zeros_like(audio)
    out[..., 1000::20_000] = 1
    return out


def faults(audio: np.ndarray) -> np.ndarray:
    out = audio.copy()
    out[..., 5000::30_000], out[..., 9000::30_000], out[..., 15_000::30_000] = np.nan, np.inf, 1e20
    return out


def ends(audio: np.ndarray) -> np.ndarray:
    out = audio.copy()
    out[..., out.shape[-1] // 2 :] = 0
    return out


def hiss(audio: np.ndarray) -> np.ndarray:
    return 1e-3 * np.random.default_rng(0).standard_normal(audio.shape)


# (channels, n), or (n,), to the same
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    USUAL: lambda x: x,
    "digital silence": np.zeros_like,
    "ends in silence": ends,
    "constant (DC) of 0.5": lambda x: np.full_like(x, 0.5),
    "on an offset of 0.5": lambda x: x + 0.5,
    "at -60 dBFS": lambda x: at_level(x, -60),
    "20 dB over full scale": lambda x: at_level(x, 20),
    "clipped": lambda x: np.clip(30 * x, -1, 1),
    "full-scale squares": squares,
    "clicks": clicks,
    "NaN, infinity, 1e20": faults,
}
STEREO: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "right channel silent": lambda x: x * np.array([[1], [0]]),
    "left = right": lambda x: np.stack([x[0], x[0]]),
    "left = -right": lambda x: np.stack([x[0], -x[0]]),
    "left = -right and hiss": lambda x: np.stack([x[0], -x[0]]) + hiss(x),
    "left = -right * 0.99": lambda x: np.stack([x[0], -0.99 * x[0]]),
}


def measure(bundles: Sequence[Bundle], progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """`{"tool", "machine", "results": [{name, graph, kind, snr_db, dbfs, good}]}`; snr_db is None where the reference
    is silent, dbfs that of the graph's output. Raises InputError where a name has no fp32 bundle with an ONNX graph."""
    watch, results = Watch(), []
    for name in dict.fromkeys(bundle.manifest.name for bundle in bundles):
        group = [bundle for bundle in bundles if bundle.manifest.name == name]
        whole = [b for b in group if "onnx" in b.manifest.graphs and b.manifest.graphs["onnx"].made_in() == "fp32"]
        if not whole:
            raise InputError(f"{name}: the reference is missing, an fp32 bundle with an ONNX graph")
        graphs = {label(b, backend): (b, backend) for b in group for backend in b.manifest.graphs}
        audio = kinds(whole[0])
        expected = {
            kind: through(whole[0].manifest, load_graph(whole[0], "onnx"), x.copy()) for kind, x in audio.items()
        }
        for graph, (bundle, backend) in graphs.items():
            loaded = load_graph(bundle, backend)
            usual: float | None = None
            for kind, given in audio.items():
                found = compared(expected[kind], through(bundle.manifest, loaded, given.copy()))
                usual = found["snr_db"] if kind == USUAL else usual
                results.append({"name": name, "graph": graph, "kind": kind, **found, "good": is_good(found, usual)})
            progress(f"{name}: {graph}")
    tool = {"name": NAME, "command": f"{NAME} BUNDLE... --save", "started": watch.started}
    return {"tool": tool, "machine": watch.machine(), "results": results}


def label(bundle: Bundle, backend: str) -> str:
    """The graph's runtime and precision."""
    manifest = bundle.manifest
    precision = manifest.graphs[backend].made_in()
    cpu = manifest.compression.cpu if precision != "fp32" else None  # the one that the precision was chosen for
    return f"{backend} {precision}" + (f" ({cpu})" if cpu else "")


def kinds(bundle: Bundle) -> dict[str, np.ndarray]:
    """Float32 audio by kind, as the bundle's model takes it."""
    m = bundle.manifest
    usual = samples.speech()[0] if m.task == "enhance" else samples.song(m.sample_rate, m.channels)[0]
    usual = usual[..., : SECONDS * m.sample_rate].astype(np.float64)
    made = KINDS | (STEREO if m.channels == 2 else {})
    return {kind: np.ascontiguousarray(make(usual), np.float32) for kind, make in made.items()}


def compared(expected: np.ndarray, got: np.ndarray) -> dict[str, float | None]:
    """SNR of `got`, and its level; None for what is not finite, and for the SNR against silence."""
    if not np.isfinite(got).all():
        return {"snr_db": None, "dbfs": None}
    silent = level_dbfs(expected) < _SILENT_DB
    return {"snr_db": None if silent else snr_db(expected, got), "dbfs": level_dbfs(got)}


def is_good(found: dict[str, float | None], usual: float | None) -> bool:
    """Whether it is finite, and as near to the reference as usual, or as silent as that."""
    if found["dbfs"] is None or usual is None:
        return False
    return found["dbfs"] < _SILENT_DB if found["snr_db"] is None else found["snr_db"] >= usual - MARGIN_DB


def rows(results: Sequence[dict[str, Any]], name: str) -> list[list[str]]:
    """Header and cells of one model: a row a kind, a column a graph."""
    mine = [r for r in results if r["name"] == name]
    graphs = list(dict.fromkeys(r["graph"] for r in mine))
    table = [["audio", *graphs]]
    for kind in dict.fromkeys(r["kind"] for r in mine):
        cells = {r["graph"]: _cell(r) for r in mine if r["kind"] == kind}
        table.append([kind, *(cells[graph] for graph in graphs)])
    return table


def _cell(result: dict[str, Any]) -> str:
    if result["dbfs"] is None:
        return "not finite !"
    text = "silent" if result["dbfs"] < _SILENT_DB else f"{result['dbfs']:.0f} dBFS"
    text = text if result["snr_db"] is None else f"{result['snr_db']:.1f}"
    return text if result["good"] else f"{text} !"


def closing(content: dict[str, Any]) -> str:
    """How to read the table."""
    bad = sum(not r["good"] for r in content["results"])
    told = f"{bad} cells marked ! are not" if bad else "all are"
    return (
        f"SNR in dB against the fp32 ONNX graph. Finite, silent where that is silent, and at most {MARGIN_DB:.0f} dB "
        f"below the usual recording: {told}."
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(NAME, description=__doc__)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="of each name an fp32 one, and others")
    parser.add_argument("--save", action="store_true", help=f"store the results: docs/results/{STORED.name}")
    args = parser.parse_args(argv)

    def body() -> None:
        content = measure([open_bundle(path) for path in args.bundles], lambda step: print(step, file=sys.stderr))
        for name in dict.fromkeys(r["name"] for r in content["results"]):
            print(f"{name}\n{columns(rows(content['results'], name), left=(0,))}\n")
        print(f"{closing(content)}\nMeasured on {machine_line(content['machine'])}.")
        if args.save:
            write_json(content, STORED)
        if not all(r["good"] for r in content["results"]):
            raise EdgeError("odd audio costs more than it may")

    return run_command(NAME, body)


if __name__ == "__main__":
    sys.exit(main())
