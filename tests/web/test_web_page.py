"""The page that needs no server, in a headless Chromium whose network is off once it is loaded."""

from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

pytest.importorskip("websockets")
from browser import TAP, Browser, heard_exactly, microphone, needs_chromium, press
from serving import noise
from test_web import as_edge_run
from webjobs import runtime_folder

from edge import samples
from edge.bundle import Bundle, snr_db
from edge.serve.site import write_site

pytestmark = [pytest.mark.slow, needs_chromium]


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def page(enhancer_bundle, separator_bundle, tmp_path_factory) -> Iterator[str]:
    """The URL of the static page, on the plainest of hosts."""
    folder = tmp_path_factory.mktemp("host") / "site"
    write_site(folder, [enhancer_bundle, separator_bundle], runtime_folder())
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def browser(page, tmp_path) -> Iterator[Browser]:
    """The page, loaded; then the network goes away."""
    speech = tmp_path / "noisy.wav"
    soundfile.write(speech, noise(7, 48_000 * 5), 48_000, "PCM_16")
    opened = Browser(tmp_path / "profile", *microphone(speech))
    opened.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    opened.open(page, TAP)
    opened.wait("document.body.dataset.ready || !document.getElementById('message').hidden", 300)
    assert opened.run("document.body.dataset.ready") == "enhance separate", opened.run("document.body.innerText")
    opened.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    yield opened
    opened.close()


def saved(browser: Browser, folder: Path, name: str) -> tuple[np.ndarray, int]:
    until = time.monotonic() + 60
    while not (folder / "saved" / name).exists():
        assert time.monotonic() < until, browser.run("document.body.innerText")
        time.sleep(0.1)
    return soundfile.read(folder / "saved" / name, dtype="float32", always_2d=True)


def test_the_microphone_is_enhanced_without_a_network(browser):
    assert "stays on this device" in browser.run("document.getElementById('where').textContent")
    browser.run("document.getElementById('band').value = 'model'")
    press(browser, "live")
    browser.wait("Number(document.getElementById('meter-out').getAttribute('aria-valuenow')) > -40")
    enhanced = heard_exactly(browser, 0.5)
    browser.run("const s = document.getElementById('strength'); s.value = 6; s.dispatchEvent(new Event('input'))")
    keep = 10 ** (-6 / 20)
    assert heard_exactly(browser, keep + (1 - keep) / 2) >= enhanced
    assert browser.run("document.getElementById('strength-value').textContent") == "6 dB"
    press(browser, "live")
    browser.wait("document.getElementById('live').textContent === 'Start'")
    assert browser.problems == []


def test_files_come_out_as_edge_run_makes_them(browser, enhancer_bundle, separator_bundle, tmp_path):
    """A stereo recording at full rate, and 20 s of music, saved from the page; its own thread is never held up."""
    talk = soxr.resample(samples.speech()[0][:80_000], 16_000, 48_000)
    talk = np.stack([talk, 0.5 * talk[::-1]], axis=1).astype(np.float32)
    song = np.resize(samples.song()[0].T, (20 * 44_100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "talk.wav", talk, 48_000, "FLOAT")
    soundfile.write(tmp_path / "song.wav", song, 44_100, "FLOAT")

    def given(bundle: Bundle, audio: np.ndarray, rate: int, output: int, name: str) -> None:
        found, found_rate = saved(browser, tmp_path, name)
        assert found_rate == rate and snr_db(as_edge_run(bundle, audio, rate)[output], found) > 60

    with browser.tasks() as tasks:
        browser.choose("#file", tmp_path / "talk.wav")
        browser.wait("!document.getElementById('save').disabled || !document.getElementById('message').hidden", 300)
        press(browser, "save")
        given(enhancer_bundle, talk, 48_000, 0, "talk_enhanced.wav")
        browser.choose("#song", tmp_path / "song.wav")
        done = "!document.getElementById('song-play').disabled || !document.getElementById('message').hidden"
        browser.wait(done, 300)
        for index, source in enumerate(separator_bundle.manifest.sources):
            browser.run(f"document.querySelector('[data-source={source}] button').click()")
            given(separator_bundle, song, 44_100, index, f"song_{source}.wav")
    assert len(tasks) > 100 and max(tasks) < 0.05, sorted(tasks)[-5:]

    press(browser, "song-play")
    browser.wait("document.getElementById('song-position').textContent.startsWith('0:01')")
    browser.run("const s = document.getElementById('song-seek'); s.value = 15; s.dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('song-position').textContent.startsWith('0:16')")
    press(browser, "song-play")
    assert browser.problems == []


LIVE_TRACK = """
(async () => {
  const { createEnhancer, createTrackProcessor } = await import(new URL("web/index.js", location.href));
  const { runtime, models } = await (await fetch("models.json")).json();
  const enhancer = await createEnhancer(models[0].url, { runtime });
  const context = new AudioContext({ sampleRate: 48000 });
  await context.resume();
  const [track] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
  const reports = [];
  const processor = createTrackProcessor(enhancer, { onlevels: (report) => reports.push(report) });
  await processor.init({ kind: "audio", track, audioContext: context });
  const first = processor.processedTrack;
  const quieter = ({ levels }) => levels[1] < 0.7 * levels[0]; // not where it was late, and the original is heard
  while (!reports.some(quieter)) await new Promise((resolve) => setTimeout(resolve, 50));
  await processor.restart({ kind: "audio", track, audioContext: context });
  const second = processor.processedTrack;
  const found = { kind: first.kind, ended: first.readyState, live: second.readyState, ...reports.at(-1) };
  await processor.destroy();
  return { ...found, gone: processor.processedTrack === undefined, source: track.readyState };
})()
"""


def test_a_track_processor_as_livekit_uses_it(page, tmp_path):
    speech = tmp_path / "noisy.wav"
    soundfile.write(speech, noise(7, 48_000 * 5), 48_000, "PCM_16")
    browser = Browser(tmp_path / "profile", *microphone(speech))
    try:
        browser.open(page)
        found = browser.run(LIVE_TRACK)
        assert found["kind"] == "audio" and found["ended"] == "ended" and found["live"] == "live"
        assert found["gone"] and found["source"] == "live"
        assert 0.02 < found["latency"] < 0.7
        assert browser.problems == []
    finally:
        browser.close()
