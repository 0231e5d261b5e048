"""The web page in a headless Chromium: what is heard, measured behind the page's last node."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("websockets")
from browser import TAP, Browser, heard_exactly, lag_and_gain, level, microphone, needs_chromium, plays, press, record
from serving import Process, noise, offline, started

pytestmark = [
    pytest.mark.slow,
    needs_chromium,
]

RATE = 16000


@pytest.fixture
def server(enhancer_path, tmp_path, monkeypatch):
    """It computes for the page: there is no runtime for browsers in this cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with started(enhancer_path, "--port", 0) as process:
        yield process


@pytest.fixture
def browser(request, tmp_path) -> Iterator[Browser]:
    opened = Browser(tmp_path / "profile", *getattr(request, "param", []))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """What the microphone hears."""
    path = tmp_path_factory.mktemp("microphone") / "noisy.wav"
    soundfile.write(path, noise(7, 48_000 * 5), 48_000, "PCM_16")
    return path


@pytest.fixture
def listener(tmp_path, speech) -> Iterator[Browser]:
    """A browser with a microphone that may be used."""
    opened = Browser(tmp_path / "profile", *microphone(speech))
    yield opened
    opened.close()


def open_page(browser: Browser, server: Process, script: str = "") -> None:
    browser.open(server.page, script)
    browser.wait("document.body.dataset.ready")


def choose_band(browser: Browser, band: str) -> None:
    browser.run(f"const b = document.getElementById('band'); b.value = '{band}'; b.dispatchEvent(new Event('change'))")


def choose_mode(browser: Browser, mode: str) -> None:
    browser.run(f"document.querySelector('input[value={mode}]').click()")


def test_the_microphone_is_heard_enhanced_and_as_it_is(server, listener):
    open_page(listener, server, TAP)
    assert level(listener, "in") == level(listener, "out") == -60
    choose_band(listener, "model")
    press(listener, "live")
    listener.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    enhanced = heard_exactly(listener, 0.5)
    choose_mode(listener, "original")
    original = heard_exactly(listener, 1.0)
    late = int(listener.run("document.getElementById('dropped').textContent"))
    assert original == enhanced or late > 0  # late blocks raise the delay, of both
    choose_mode(listener, "enhanced")
    heard_exactly(listener, 0.5)

    # the noise has -20 dB in full band, of which a third is left at 16 kHz
    levels = [(level(listener, "in"), level(listener, "out")) for _ in range(10)]
    assert all(-32 < inner < -18 for inner, _ in levels)
    assert any(abs(inner - outer - 6.02) < 0.2 for inner, outer in levels)
    latency = int(re.match(r"(\d+) ms", listener.run("document.getElementById('latency').textContent"))[1])
    assert 1000 * original / RATE <= latency <= 1000 * original / RATE + 500

    press(listener, "live")
    listener.wait("document.getElementById('live').textContent === 'Start'")
    assert level(listener, "in") == -60
    assert listener.problems == []
    own = server.page.removeprefix("http")
    assert listener.requests and all(url.split("://")[1].startswith(own[3:]) for url in listener.requests)


BACKLOG = """
Object.defineProperty(WebSocket.prototype, "bufferedAmount", { get: () => window.backlog ?? 0 });
"""


def test_dropped_frames_are_counted_and_shift_nothing(server, listener):
    open_page(listener, server, TAP + BACKLOG)
    choose_band(listener, "model")
    press(listener, "live")
    listener.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    before = int(listener.run("document.getElementById('dropped').textContent"))
    listener.run("window.backlog = 1e9")
    listener.wait(f"Number(document.getElementById('dropped').textContent) >= {before + 20}")
    heard_exactly(listener, 1.0)  # what was not sent is heard as it came
    listener.run("window.backlog = 0")
    enhanced = heard_exactly(listener, 0.5)
    after = int(listener.run("document.getElementById('dropped').textContent"))
    choose_mode(listener, "original")
    original = heard_exactly(listener, 1.0)
    assert original == enhanced or int(listener.run("document.getElementById('dropped').textContent")) > after
    assert listener.problems == []


FIREFOX = """
const create = AudioContext.prototype.createMediaStreamSource;
AudioContext.prototype.createMediaStreamSource = function (stream) {
  if (this.sampleRate === 16000) throw new DOMException("another rate", "NotSupportedError");
  return create.call(this, stream);
};
"""


def test_a_browser_that_does_not_resample_the_microphone(server, listener):
    open_page(listener, server, TAP + FIREFOX)
    choose_band(listener, "model")
    press(listener, "live")
    listener.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    assert listener.run("document.getElementById('rate').textContent") in ("44.1 kHz", "48 kHz")
    for _ in range(20):
        enhanced, gain = lag_and_gain(*record(listener, 88_200))
        choose_mode(listener, "original")
        original = heard_exactly(listener, 1.0, 88_200)
        if original == enhanced:  # else a late block raised the delay meanwhile
            break
        choose_mode(listener, "enhanced")
    # half the gain, and a third of the noise's band, which is what the model's rate holds
    assert original == enhanced and 0.1 < gain < 0.25
    assert listener.problems == []


def test_the_microphone_is_heard_in_full_band(server, listener):
    """Half the gain of all that it gives, where the model's band holds a third; 0 dB is the original to the sample."""
    open_page(listener, server, TAP)
    press(listener, "live")
    listener.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    assert listener.run("document.getElementById('rate').textContent") in ("44.1 kHz", "48 kHz")
    gains = []
    while len(gains) < 20 and not (gains and 0.48 < gains[-1] < 0.52):  # late blocks are heard as they came
        gains.append(lag_and_gain(*record(listener, 88_200))[1])
    assert 0.48 < gains[-1] < 0.52, gains
    listener.run("const s = document.getElementById('strength'); s.value = 0; s.dispatchEvent(new Event('input'))")
    heard_exactly(listener, 1.0, 88_200)
    choose_band(listener, "model")
    listener.wait("document.getElementById('rate').textContent === '16 kHz'")
    assert listener.problems == []


def test_a_recording_is_enhanced_and_saved(server, listener, enhancer_bundle, tmp_path):
    audio = noise(8, 10 * RATE + 123)
    soundfile.write(tmp_path / "talk.wav", audio, RATE, "FLOAT")
    listener.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    open_page(listener, server, TAP)
    listener.choose("#file", tmp_path / "talk.wav")
    listener.wait("!document.getElementById('save').disabled")
    assert "10.0 s of audio" in listener.run("document.getElementById('file-status').textContent")
    press(listener, "save")
    saved = tmp_path / "saved" / "talk_enhanced.wav"
    until = time.monotonic() + 30
    while not saved.exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    enhanced, rate = soundfile.read(saved, dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(enhanced, offline(enhancer_bundle, audio))

    listener.run("tap.on = true")
    press(listener, "play")
    listener.wait("tap.heard.length > 30000")
    before = listener.run("tap.heard.length")
    choose_mode(listener, "original")
    after = listener.run("tap.heard.length") + RATE // 2
    listener.wait(f"tap.heard.length > {after + RATE}")
    heard = np.float32(listener.run("tap.heard"))
    first, second = heard[:before], heard[after:]
    at = [plays(part, audio, gain) for part, gain in ((first, 0.5), (second, 1.0))]
    assert at[0] < at[1] and plays(second, audio, 0.5) == plays(first, audio, 1.0) == -1
    press(listener, "play")
    listener.wait("document.getElementById('play').textContent === 'Play'")
    assert listener.problems == []


def test_what_is_no_audio_is_told(server, browser, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    open_page(browser, server)
    browser.choose("#file", tmp_path / "text.wav")
    browser.wait("document.getElementById('message').textContent.includes('cannot decode text.wav')")


@pytest.mark.parametrize("browser", [["--use-fake-device-for-media-stream"]], indirect=True)
def test_a_refused_microphone_is_told(server, browser):
    origin = server.page.rstrip("/")
    browser.call("Browser.setPermission", permission={"name": "microphone"}, setting="denied", origin=origin)
    open_page(browser, server)
    press(browser, "live")
    browser.wait("document.getElementById('message').textContent.includes('microphone was refused')")
    assert browser.run("document.getElementById('live').textContent") == "Start"


def test_a_missing_microphone_is_told(server, browser):
    origin = server.page.rstrip("/")
    browser.call("Browser.setPermission", permission={"name": "microphone"}, setting="granted", origin=origin)
    open_page(browser, server)
    press(browser, "live")
    browser.wait("document.getElementById('message').textContent.includes('No microphone was found')")


def test_a_server_that_goes_away_is_told(server, listener):
    open_page(listener, server)
    press(listener, "live")
    listener.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    assert server.stop() == (0, "")
    listener.wait("document.getElementById('message').textContent.includes('The server stops')")
    assert listener.run("document.getElementById('live').textContent") == "Start"
    listener.wait("document.getElementById('server').textContent === 'not reachable'")
    press(listener, "live")
    listener.wait("document.getElementById('message').textContent.includes('does not answer')")
