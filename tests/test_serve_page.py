"""The web page in a headless Chromium: what is heard, measured behind the page's last node."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("websockets")
from serving import noise, offline, started
from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

RATE = 16000

# Records what goes to the loudspeaker beside what comes from the microphone, sample by sample.
TAP = """
const connect = AudioNode.prototype.connect;
window.tap = { on: false, microphone: [], heard: [] };
AudioNode.prototype.connect = function (target, ...rest) {
  const context = this.context;
  if (!context.merger) {
    context.merger = new ChannelMergerNode(context, { numberOfInputs: 2 });
    const recorder = context.createScriptProcessor(4096, 2, 1);
    recorder.onaudioprocess = ({ inputBuffer }) => {
      if (!window.tap.on) return;
      window.tap.microphone.push(...inputBuffer.getChannelData(0));
      window.tap.heard.push(...inputBuffer.getChannelData(1));
    };
    connect.call(context.merger, recorder);
    connect.call(recorder, context.destination);
  }
  if (this instanceof MediaStreamAudioSourceNode) connect.call(this, context.merger, 0, 0);
  if (target === context.destination) connect.call(this, context.merger, 0, 1);
  return connect.call(this, target, ...rest);
};
"""


class Browser:
    """A headless Chromium, driven over its DevTools protocol."""

    def __init__(self, folder: Path, *options: str):
        assert CHROMIUM is not None
        self.folder = folder
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", *options, "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = folder / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not (port.exists() and len(port.read_text().splitlines()) == 2):
            assert self.process.poll() is None and time.monotonic() < until, "chromium does not start"
            time.sleep(0.1)
        number, path = port.read_text().splitlines()
        url = f"ws://127.0.0.1:{number}{path}"
        devtools = connect(url, max_size=None, proxy=None, compression=None, ping_interval=None)
        self._open = ExitStack()
        self._socket = self._open.enter_context(devtools)
        self._last = 0
        self._session: str | None = None
        self.problems: list[str] = []  # exceptions and violations of the security policy
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        command: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._socket.send(json.dumps(command))
        while True:
            answer = json.loads(self._socket.recv(120))
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            if parameters["entry"]["source"] != "network":  # the page tells those itself
                self.problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event["method"] == "Network.webSocketCreated":
            self.requests.append(parameters["url"])

    def open(self, url: str, script: str = "") -> None:
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page", "DOM"):
            self.call(f"{domain}.enable")
        if script:
            self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && document.querySelector('.pill')?.textContent !== 'connecting'")

    def run(self, script: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > until:
                pytest.fail(f"{condition}: not so; {self.problems}; {self.run('document.body?.innerText')}")
            time.sleep(0.1)

    def choose(self, selector: str, file: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self, path: Path, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        time.sleep(0.5)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._open.close()
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def server(enhancer_path):
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


def microphone(speech: Path) -> list[str]:
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech}",
        "--autoplay-policy=no-user-gesture-required",
    ]


@pytest.fixture
def listener(tmp_path, speech) -> Iterator[Browser]:
    """A browser with a microphone that may be used."""
    opened = Browser(tmp_path / "profile", *microphone(speech))
    yield opened
    opened.close()


def press(browser: Browser, element: str) -> None:
    browser.run(f"document.getElementById('{element}').click()")


def choose_mode(browser: Browser, mode: str) -> None:
    browser.run(f"document.querySelector('input[value={mode}]').click()")


def record(browser: Browser, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """What came from the microphone and what was heard in the same time."""
    browser.run("Object.assign(tap, { on: true, microphone: [], heard: [] })")
    browser.wait(f"tap.heard.length >= {samples}")
    browser.run("tap.on = false")
    return tuple(np.float32(browser.run(f"tap.{side}.slice(0, {samples})")) for side in ("microphone", "heard"))


def lag_and_gain(source: np.ndarray, heard: np.ndarray) -> tuple[int, float]:
    """By how many samples `heard` follows `source`, and at what gain."""
    size = 1 << (2 * len(source) - 1).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size)), size)
    lag = int(np.argmax(correlation[: len(source) // 2]))
    before, after = source[: len(source) - lag], heard[lag:]
    return lag, float(before @ after / (before @ before))


def heard_exactly(browser: Browser, gain: float, samples: int = 2 * RATE) -> int:
    """The lag at which a quarter of a second in a row is heard at that gain, sample by sample.

    Not all of what is recorded: on a busy machine blocks come late, and sound as they were.
    """
    for _ in range(20):
        source, heard = record(browser, samples)
        lag, _ = lag_and_gain(source, heard)
        wrong = np.flatnonzero(np.abs(heard[lag:] - gain * source[: len(source) - lag]) > 1e-5)
        if np.diff(wrong, prepend=-1, append=len(source) - lag).max() > RATE // 4:
            return lag
    pytest.fail(f"nothing at gain {gain}: {browser.run('document.body.innerText')}")


def plays(heard: np.ndarray, audio: np.ndarray, gain: float) -> int:
    """Where in `audio` a piece of what was heard is found at that gain, sample by sample; -1 for nowhere.

    Pieces, because the recorder loses blocks on a busy machine.
    """
    spectrum = np.fft.rfft(audio, 2 * len(audio))
    for start in range(0, len(heard) - 1024, 1024):
        piece = heard[start : start + 1024]
        correlation = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, 2 * len(audio))))
        where = int(np.argmax(correlation[: len(audio) - 1024]))
        if piece.any() and np.allclose(piece, gain * audio[where : where + 1024], atol=1e-6):
            return where
    return -1


def level(browser: Browser, side: str) -> float:
    return float(browser.run(f"document.getElementById('meter-{side}').getAttribute('aria-valuenow')"))


def test_the_microphone_is_heard_enhanced_and_as_it_is(server, listener):
    listener.open(server.page, TAP)
    assert level(listener, "in") == level(listener, "out") == -60
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
    listener.open(server.page, TAP + BACKLOG)
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
    listener.open(server.page, TAP + FIREFOX)
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


def test_a_recording_is_enhanced_and_saved(server, listener, enhancer_bundle, tmp_path):
    audio = noise(8, 10 * RATE + 123)
    soundfile.write(tmp_path / "talk.wav", audio, RATE, "FLOAT")
    listener.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    listener.open(server.page, TAP)
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
    browser.open(server.page)
    browser.choose("#file", tmp_path / "text.wav")
    browser.wait("document.getElementById('message').textContent.includes('cannot decode text.wav')")


@pytest.mark.parametrize("browser", [["--use-fake-device-for-media-stream"]], indirect=True)
def test_a_refused_microphone_is_told(server, browser):
    origin = server.page.rstrip("/")
    browser.call("Browser.setPermission", permission={"name": "microphone"}, setting="denied", origin=origin)
    browser.open(server.page)
    press(browser, "live")
    browser.wait("document.getElementById('message').textContent.includes('microphone was refused')")
    assert browser.run("document.getElementById('live').textContent") == "Start"


def test_a_missing_microphone_is_told(server, browser):
    origin = server.page.rstrip("/")
    browser.call("Browser.setPermission", permission={"name": "microphone"}, setting="granted", origin=origin)
    browser.open(server.page)
    press(browser, "live")
    browser.wait("document.getElementById('message').textContent.includes('No microphone was found')")


def test_a_server_that_goes_away_is_told(server, listener):
    listener.open(server.page)
    press(listener, "live")
    listener.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    assert server.stop() == (0, "")
    listener.wait("document.getElementById('message').textContent.includes('The server stops')")
    assert listener.run("document.getElementById('live').textContent") == "Start"
    listener.wait("document.getElementById('server').textContent === 'not reachable'")
    press(listener, "live")
    listener.wait("document.getElementById('message').textContent.includes('does not answer')")
