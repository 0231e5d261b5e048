"""What a live run was, in words and as JSON values: its latency and its counts."""

from __future__ import annotations

from dataclasses import asdict

from edge.runtime.devices import DeviceStream
from edge.runtime.live import LiveEngine
from edge.runtime.worker import Recorder


def latency_parts(engine: LiveEngine, stream: DeviceStream) -> dict[str, float]:
    """Milliseconds; `round_trip` is all but `device`, what devices add; `spare` was added as results came late."""
    to_ms = 1000 / engine.rate
    model = 1000 * engine.session.latency_samples / engine.session.sample_rate
    rest = engine.round_trip * to_ms - model - (engine.conversion + 2 * engine.block + engine.spare) * to_ms
    return {
        "model": model,
        "conversion": engine.conversion * to_ms,
        "compute": rest if rest > 2 * to_ms else 0.0,  # less is the rounding to whole frames
        "spare": engine.spare * to_ms,
        "block": engine.block * to_ms,
        "round_trip": engine.round_trip * to_ms,
        "device": 1000 * stream.latency,
    }


def total_ms(engine: LiveEngine, stream: DeviceStream) -> float:
    """Milliseconds from the microphone to the loudspeaker, as far as the devices tell."""
    return 1000 * (engine.round_trip / engine.rate + stream.latency)


def latency_text(engine: LiveEngine, stream: DeviceStream) -> str:
    """The latency in words."""
    parts = latency_parts(engine, stream)
    named = ("model", "conversion", "compute", "spare")
    text = " + ".join(f"{name} {parts[name]:.1f}" for name in named if parts[name])
    return (
        f"latency {parts['round_trip']:.1f} ms: {text} + 2 blocks of {parts['block']:.1f}; the devices' own buffers, "
        f"as they tell: {parts['device']:.1f} ms; {engine.rate} Hz"
    )


def run_report(engine: LiveEngine, stream: DeviceStream, recorder: Recorder | None) -> dict:
    """What the run was, as JSON values."""
    session = engine.session
    return {
        "sample_rate": engine.rate,
        "model_sample_rate": session.sample_rate,
        "block_frames": engine.block,
        "delay_frames": engine.delay,
        "latency_ms": latency_parts(engine, stream) if engine.captures else None,
        "seconds": engine.counts.frames / engine.rate,
        "rtf": engine.rtf,
        "work_seconds": engine.percentiles(),
        "late_share": engine.counts.late_share,
        **asdict(engine.counts),
        "faulty_samples_in": session.counts.bad_inputs,
        "faulty_results": session.counts.bad_outputs,
        "record_lost_frames": recorder.lost if recorder else None,
    }


def summary(report: dict) -> str:
    """A report, with its `name`, `backend` and `threads`, in words."""
    times = report["work_seconds"]
    spread = ", ".join(f"{name} {1000 * value:.2f} ms" for name, value in times.items())
    return (
        f"{report['name']} ({report['backend']}, {report['threads']} thread(s)): {report['seconds']:.1f} s played, RTF "
        f"{report['rtf']:.3f} ({spread}); late: {report['late_hops']} hops, {100 * report['late_share']:.2f} % of the "
        f"time; {report['xruns']} xruns, {report['jumps']} jumps, {report['reconnects']} reconnects"
    )
