"""The latency of a loop from the output to the input, simulated to the frame and through a sound server."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulse import pulse_server

from edge.errors import EdgeError
from edge.runtime.loopback import CLICKS, ClickPlayer
from edge.runtime.pace import SPARE

RATE = 16000


def looped(clicks: ClickPlayer, delay: int, gain: float, noise: float) -> None:
    """Run it on a device that hears itself `delay` frames late."""
    clicks.start(0)
    random = np.random.default_rng(1)
    air = np.zeros(len(clicks._played) + delay + clicks.block, np.float32)
    position = 0
    while not clicks.ended:
        out = np.empty((clicks.block, 2), np.float32)
        heard = air[position : position + clicks.block] + noise * random.standard_normal(clicks.block)
        clicks.capture(heard.astype(np.float32)[:, None])
        clicks.play(out)
        air[position + delay : position + delay + clicks.block] += gain * out[:, 0]
        position += clicks.block


@settings(max_examples=30, deadline=None)
@given(
    delay=st.integers(160, 3 * RATE),  # a block at least: what is heard was played before
    gain=st.sampled_from([1.0, 0.1, -0.5]),
    noise=st.sampled_from([0.0, 0.003]),
    block=st.sampled_from([64, 160]),
)
def test_the_delay_of_a_loop_is_found_to_the_frame(delay, gain, noise, block):
    clicks = ClickPlayer(RATE, block, 2)
    looped(clicks, delay, gain, noise)
    loop = clicks.result()
    assert (loop.frames, loop.least, loop.most, loop.found) == (delay, delay, delay, CLICKS)


@pytest.mark.parametrize("gain, noise, why", [(0.0, 0.0, "nothing came in"), (0.0, 0.1, "something else")])
def test_no_loop_is_said(gain, noise, why):
    clicks = ClickPlayer(RATE, 160, 2)
    looped(clicks, 500, gain, noise)
    with pytest.raises(EdgeError, match=why):
        clicks.result()


@settings(max_examples=30, deadline=None)
@given(opened=st.integers(-30, 30), delay=st.integers(200, RATE), block=st.sampled_from([64, 160]))
def test_the_order_in_which_devices_were_opened_does_not_matter(opened, delay, block):
    """An engine of a delay D would be heard D + the devices' part later, whichever of the two counts more frames."""
    clicks = ClickPlayer(RATE, block, 1)
    air = np.zeros(20 * RATE, np.float32)

    def run(blocks: int, hears: bool, plays: bool) -> None:
        nonlocal now
        for _ in range(blocks):
            if hears:
                clicks.capture(air[now : now + block, None])
            if plays:
                out = np.empty((block, 1), np.float32)
                clicks.play(out)
                air[now + delay : now + delay + block] += out[:, 0]
            now += block

    now = 0
    run(abs(opened), opened > 0, opened < 0)
    run(RATE // block + 40, True, True)
    clicks.start(1000)
    while not clicks.ended:
        run(1, True, True)
    # a sound is captured with its block
    assert clicks.result().frames == delay - block + round(SPARE * RATE)


def run(env: dict[str, str], bundle, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "edge.cli.run", str(bundle), "--live", "--loop-back", *options]
    command += ["--input", "pulse", "--output", "pulse"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_the_latency_through_a_null_sink(enhancer_path, tmp_path):
    with pulse_server(tmp_path, RATE) as server:
        done = run(server.env | {"PULSE_SINK": "mic"}, enhancer_path, "--json")
    if "broke off" in done.stderr:
        pytest.skip("the sound server broke off: this machine is too busy for sound")
    assert done.returncode == 0, done.stderr
    loop = json.loads(done.stdout)
    assert loop["clicks_found"] >= CLICKS / 2 and loop["latency_ms"] == loop["engine_ms"] + loop["devices_ms"]
    assert loop["devices_ms"] < 500  # nothing of the past is heard, which a server keeps where its sink waits
    if loop["xruns"] == 0:
        assert loop["devices_ms_most"] - loop["devices_ms_least"] < 1
        assert abs(loop["devices_ms"] - loop["devices_ms_told"]) < 20


def test_a_loop_that_is_open_is_one_line(enhancer_path, tmp_path):
    with pulse_server(tmp_path, RATE) as server:
        done = run(server.env, enhancer_path)
    if "broke off" in done.stderr:
        pytest.skip("the sound server broke off: this machine is too busy for sound")
    assert done.returncode == 1 and "nothing came in" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
