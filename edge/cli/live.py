"""edge-run --live: sound devices, a worker, keys and a status line around the live engine."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from edge.audio import AudioReader
from edge.bundle import Bundle
from edge.cli.keys import key_presses
from edge.cli.livereport import latency_text, run_report, summary, total_ms
from edge.cli.livesession import TIGHT_RTF, compute_frames, live_session, warm_up
from edge.cli.loopback import loop_text, measure_loop
from edge.cli.mixer import Mixer
from edge.cli.status import meter, status_line
from edge.errors import InputError
from edge.outputs import output_folder, refuse_inputs
from edge.runtime.captureclock import NEAR_BLOCKS
from edge.runtime.devices import DeviceStream
from edge.runtime.graphs import load_graph
from edge.runtime.live import LiveEngine
from edge.runtime.loopback import ClickPlayer
from edge.runtime.portaudio import negotiate, parse_device
from edge.runtime.shaping import Shaping
from edge.runtime.worker import FileSource, Recorder, Worker

RETRY_SECONDS = 1.0
LATE_SECONDS, LATE_SHARE = 2.0, 0.01  # more than this share of so long came too late: wait longer
LONGEST_SPARE = 0.2  # seconds


@dataclass(frozen=True)
class LiveOptions:
    """What the command line says; devices and files as text."""

    backend: str
    threads: int
    input: str | None = None
    output: str | None = None
    latency: float | None = None
    block: float = 10.0  # milliseconds
    buffer: float | None = None  # milliseconds
    seconds: float | None = None
    record: Path | None = None
    loop_back: bool = False
    bypass: bool = False
    mute: tuple[str, ...] = ()
    shaping: Shaping = field(default_factory=Shaping)


def run_live(bundle: Bundle, options: LiveOptions, as_json: bool = False) -> None:
    """Run until Ctrl-C, the end of the file or `options.seconds`; then print a summary. Or measure the loop.

    Raises InputError for devices, files or latencies that cannot be, EdgeError where a device or the model fails.
    """
    manifest = bundle.manifest
    graph = load_graph(bundle, options.backend, options.threads)
    file = options.input if options.input is not None and Path(options.input).is_file() else None
    if file and options.loop_back:
        raise InputError("--loop-back measures devices: leave the file out, or name a device by --input")
    captured = 0 if file else manifest.channels
    played = max(manifest.channels, 2 if file else 1)
    source = parse_device(None if file else options.input, "input")
    target = parse_device(options.output, "output")
    rate, captured, played = negotiate(manifest.sample_rate, source, target, captured, played)
    mixer = Mixer(manifest.sources, options.shaping.atten_limit)
    mixer.bypass = options.bypass
    for name in options.mute:
        if name not in manifest.sources:
            raise InputError(f"{bundle.path}: no source {name!r}; it has {', '.join(manifest.sources)}")
        mixer.muted[manifest.sources.index(name)] = True
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(AudioReader(file)) if file else None
        session = live_session(bundle, graph, options.latency, reader)
        allowance = 0 if manifest.task == "enhance" or reader else compute_frames(session, rate)
        engine = LiveEngine(
            session,
            rate,
            max(16, round(options.block / 1000 * rate)),
            played,
            allowance,
            captures=reader is None,
            shaping=options.shaping,
        )
        buffer = options.buffer / 1000 if options.buffer is not None else None
        if options.loop_back:
            clicks = ClickPlayer(rate, engine.block, played)
            loop = measure_loop(engine, clicks, DeviceStream(clicks, source, target, captured, buffer))
            print(json.dumps(loop, indent=2) if as_json else loop_text(loop))
            return
        recorder = None
        if options.record is not None:
            tapes = [options.record / name for name in ("input.wav", "output.wav")]
            refuse_inputs(tapes, [Path(file)] if file else [])
            folder = stack.enter_context(output_folder(options.record))
            recorder = Recorder(engine, folder / "input.wav", folder / "output.wav")
        warm_up(session)
        stream = DeviceStream(engine, source, target, captured, buffer)
        live = _Live(engine, stream, mixer, recorder, reader)
        live.run(options.seconds)
    report = {
        "name": manifest.name,
        "backend": options.backend,
        "threads": options.threads,
        **run_report(engine, stream, recorder),
    }
    print(json.dumps(report, indent=2) if as_json else summary(report))


class _Live:
    def __init__(
        self,
        engine: LiveEngine,
        stream: DeviceStream,
        mixer: Mixer,
        recorder: Recorder | None,
        reader: AudioReader | None,
    ):
        self._engine, self._stream, self._mixer, self._recorder = engine, stream, mixer, recorder
        self._source = FileSource(engine, reader) if reader else None
        self._worker: Worker | None = None
        self._stop_at = float("inf")
        self._first_heard: float | None = None  # perf_counter, of the recording's first frame
        self._gap = False  # since its last frame devices were started
        self._seen_frames = self._seen_late = 0
        self._was_late = False  # the window before, and nothing was done

    def run(self, seconds: float | None) -> None:
        self._apply()
        self._worker = Worker(self._engine, self._source)
        try:
            self._stream.open()
            self._start()
            if seconds is not None:
                self._stop_at = time.monotonic() + seconds
            if self._source is None:
                print(latency_text(self._engine, self._stream), file=sys.stderr)
            if sys.stderr.isatty():
                print(self._mixer.keys, file=sys.stderr)
            with key_presses() as pressed, status_line() as show, contextlib.suppress(KeyboardInterrupt):
                while not self._done():
                    time.sleep(0.05)
                    while key := pressed():
                        self._mixer.key(key)
                        self._apply()
                    self._record()
                    if not self._stream.poll():
                        self._reconnect()
                    self._adapt()
                    show(self._status())
        finally:
            self._stream.close()
            self._worker.stop()
            self._record(final=True)
            if self._recorder:
                self._recorder.close()
        if self._worker.failed is not None:
            raise self._worker.failed

    def _start(self) -> None:
        """Start a microphone's engine when the devices' habits are known; a file's worker starts its own."""
        if self._source is None:
            self._stream.settle()
            self._engine.start()

    def _done(self) -> bool:
        engine = self._engine
        ended = engine.total is not None and engine.position >= engine.total
        assert self._worker is not None
        return ended or self._worker.failed is not None or time.monotonic() >= self._stop_at

    def _apply(self) -> None:
        self._engine.bypass = self._mixer.bypass
        self._engine.set_gains(self._mixer.gains())
        self._engine.set_limit(self._mixer.limit)

    def _reconnect(self) -> None:
        print("\nthe sound device has vanished; trying again every second", file=sys.stderr)
        while self._stream.lost and not self._done():
            self._rest()
            if not self._stream.reopen():
                time.sleep(RETRY_SECONDS)
        if not self._stream.lost:
            self._start()
            print("the sound device is back", file=sys.stderr)

    def _rest(self) -> None:
        """While no device plays: the engine goes back to position 0, the recording stays where it is."""
        if self._source is not None:  # a file just goes on where it was
            return
        assert self._worker is not None
        self._worker.stop()
        self._record(final=True)
        if self._recorder:
            self._recorder.restart()
        self._engine.restart()
        self._worker = Worker(self._engine)
        self._gap, self._was_late = True, False

    def _record(self, final: bool = False) -> None:
        """Write what was captured and played as far as it is known what the device lost on the way."""
        end = self._engine.captured.end  # before all else: a fault is known before its frames are there
        losses = self._stream.losses(final)
        if self._recorder is None:
            return
        if self._source is None and end:
            self._place()
        for position, frames in losses:
            self._recorder.lose(position, frames)
        if not final:
            end -= NEAR_BLOCKS * self._engine.block
            unsure = self._stream.unsure_from
            end = end if unsure is None else min(end, unsure)
        self._recorder.step(end)

    def _place(self) -> None:
        """Where devices were started, go on at the time at which they heard: errors of several gaps do not add up."""
        assert self._recorder is not None
        if self._first_heard is None:
            self._first_heard = self._stream.began
        elif self._gap:
            place = round((self._stream.began - self._first_heard) * self._engine.rate)
            self._recorder.skip(max(0, place - self._recorder.written))
        self._gap = False

    def _adapt(self) -> None:
        """Follow the devices; wait a block longer where results keep coming too late although the model is fast.

        Only a second late window tells: what devices have done may be known only after the first one.
        """
        engine, counts = self._engine, self._engine.counts
        frames, late_frames = counts.frames - self._seen_frames, counts.late_frames - self._seen_late
        if self._source is not None:
            return
        known = frames >= LATE_SECONDS * engine.rate
        late = known and late_frames > LATE_SHARE * frames
        followed = engine.follow(late_frames > LATE_SHARE * LATE_SECONDS * engine.rate)
        again = late and self._was_late
        if known or followed:
            self._seen_frames, self._seen_late = counts.frames, counts.late_frames
            self._was_late = late and not followed
        fits = engine.rtf < TIGHT_RTF and engine.spare + engine.block <= LONGEST_SPARE * engine.rate
        if again and fits and not followed:
            latency = total_ms(engine, self._stream) + 1000 * engine.block / engine.rate
            engine.lengthen()
            print(f"\nresults came late: the latency is {latency:.1f} ms now", file=sys.stderr)

    def _status(self) -> dict[str, str]:
        engine, counts = self._engine, self._engine.counts
        parts = {
            "in": meter(engine, engine.captured.end, engine.captured),
            "out": meter(engine, engine.played.end, engine.played),
            "RTF": f"{engine.rtf:.3f}",
            "latency": "" if self._source else f"{total_ms(engine, self._stream):.0f} ms",
            "late": str(counts.late_hops),
            "xruns": str(counts.xruns),
            "": str(self._mixer),
        }
        return {name: text for name, text in parts.items() if text}
