"""edge-run --live --loop-back: the latency that a sound takes, where the output leads back to the input."""

from __future__ import annotations

import sys
import time

from edge.errors import EdgeError
from edge.runtime.devices import DeviceStream
from edge.runtime.live import LiveEngine
from edge.runtime.loopback import ClickPlayer


def measure_loop(engine: LiveEngine, clicks: ClickPlayer, stream: DeviceStream) -> dict:
    """Play clicks, and find how late what `engine` captures would be played on the same devices; JSON values.

    Raises EdgeError where the devices refuse or break off, and where too few clicks come back.
    """
    try:
        stream.open()
        stream.settle()
        print("playing clicks for some seconds", file=sys.stderr)
        clicks.start(engine.delay)
        while not clicks.ended:
            time.sleep(0.05)
            if not stream.poll():
                raise EdgeError("the sound device broke off during the measurement; try again")
    finally:
        stream.close()
    loop = clicks.result()
    to_ms = 1000 / engine.rate
    return {
        "sample_rate": engine.rate,
        "block_frames": engine.block,
        "clicks_found": loop.found,
        "latency_ms": (engine.delay + loop.frames) * to_ms,
        "engine_ms": engine.delay * to_ms,
        "devices_ms": loop.frames * to_ms,
        "devices_ms_least": loop.least * to_ms,
        "devices_ms_most": loop.most * to_ms,
        "devices_ms_told": 1000 * stream.round_trip,
        "xruns": clicks.counts.xruns,
    }


def loop_text(loop: dict) -> str:
    """The measurement in words."""
    return (
        f"latency {loop['latency_ms']:.1f} ms from microphone to loudspeaker, measured: {loop['engine_ms']:.1f} in the "
        f"model and its block, {loop['devices_ms']:.1f} in the devices and theirs ({loop['clicks_found']} clicks, "
        f"{loop['devices_ms_least']:.1f} to {loop['devices_ms_most']:.1f}; the devices themselves tell "
        f"{loop['devices_ms_told']:.1f}); {loop['sample_rate']} Hz, {loop['xruns']} xruns; "
        "how late the model's thread is woken is not in it"
    )
