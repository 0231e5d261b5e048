"""A headless Chromium that tests drive, and a tap on what is heard in it."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets")
from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RATE = 16000
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

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
        elif event["method"] == "Tracing.dataCollected":
            self._trace.extend(parameters["value"])
        elif event["method"] == "Tracing.tracingComplete":
            self._traced = True

    def open(self, url: str, script: str = "") -> None:
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page", "DOM"):
            self.call(f"{domain}.enable")
        if script:
            self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    @contextlib.contextmanager
    def tasks(self) -> Iterator[list[float]]:
        """Processor seconds of each task of the page's own thread within the block, known behind it.

        Not the time that passes: on a busy machine the processor is with others for most of it.
        """
        found: list[float] = []
        self._trace: list[dict[str, Any]] = []
        self._traced = False
        categories = ["disabled-by-default-devtools.timeline", "devtools.timeline", "toplevel"]
        config = {"includedCategories": categories, "excludedCategories": ["*"]}
        self.call("Tracing.start", transferMode="ReportEvents", traceConfig=config)
        yield found
        self.call("Tracing.end")
        while not self._traced:
            self._note(json.loads(self._socket.recv(120)))
        names = {(e["pid"], e["tid"]): e["args"]["name"] for e in self._trace if e["name"] == "thread_name"}
        for event in self._trace:
            main = names.get((event["pid"], event["tid"])) == "CrRendererMain"
            if main and event["ph"] == "X" and event["name"].endswith("RunTask"):
                found.append(event["tdur"] / 1e6)

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


def microphone(speech: Path) -> list[str]:
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech}",
        "--autoplay-policy=no-user-gesture-required",
    ]


def press(browser: Browser, element: str) -> None:
    browser.run(f"document.getElementById('{element}').click()")


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
