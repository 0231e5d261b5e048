"""The golden check: a device runs a bundle's short input and compares with the output that was stored at export."""

from __future__ import annotations

import numpy as np

from edge.bundle import Bundle, snr_db
from edge.errors import EdgeError, InputError
from edge.interface import Interface
from edge.runtime.graphs import Graph, load_graph


def golden_output(interface: Interface, audio: np.ndarray, run: Graph, stride: int = 1) -> np.ndarray:
    """What a graph makes of the golden input, every `stride`-th sample of it.

    `run(list of arrays) -> list of arrays` is the graph in the order of interface.inputs and outputs; `audio`
    is float32 `(channels, n)` (separate: tiled along time to the segment) or `(n,)` (enhance: fed hop by hop
    from zero state). Returns float32 `(sources, channels, m)` or `(m,)`.
    """
    if interface.task == "separate":
        assert interface.segment is not None
        repeats = -(-interface.segment // audio.shape[-1])
        mix = np.tile(audio, (1, repeats))[None, :, : interface.segment]
        return np.asarray(run([np.ascontiguousarray(mix, np.float32)])[0])[0, ..., ::stride].copy()
    states = [np.zeros(s.shape, s.dtype) for s in interface.states]
    pieces = []
    for start in range(0, len(audio), interface.hop):
        frame = np.ascontiguousarray(audio[None, start : start + interface.hop], np.float32)
        enhanced, *states = run([frame, *states])
        pieces.append(np.array(enhanced[0]))
    return np.concatenate(pieces)[::stride]


def check_golden(bundle: Bundle, format: str, run: Graph | None = None, threads: int = 1) -> float:
    """SNR in dB of this machine's output against the bundle's golden output for `format`.

    `run` is the loaded graph (default: load it here, with `threads`). Raises EdgeError where the SNR is below
    the bundle's limit, InputError where the bundle has no golden output for the format.
    """
    golden = bundle.manifest.golden
    if format not in golden.outputs:
        raise InputError(f"{bundle.path}: the bundle has no golden output for {format}; export it again")
    if run is None:
        run = load_graph(bundle, format, threads)
    expected = golden.outputs[format]
    audio = bundle.read_f32(golden.input.file, golden.input.shape)
    output = golden_output(bundle.manifest, audio, run, golden.stride)
    reference = bundle.read_f32(expected.file, expected.shape)
    if output.shape != reference.shape:
        raise EdgeError(f"{bundle.path}: golden check of {format}: got {output.shape}, expected {reference.shape}")
    snr = snr_db(reference, output)
    if not snr >= expected.min_snr_db:
        raise EdgeError(
            f"{bundle.path}: golden check of {format} failed: {snr:.1f} dB SNR, at least "
            f"{expected.min_snr_db:.1f} dB needed; this machine does not run the graph as exported"
        )
    return snr
