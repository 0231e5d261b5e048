"""edge-run --live: sound devices, a worker, keys and a status line around the live engine."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from edge.audio import AudioReader
from edge.bundle import Bundle
from edge.cli.keys import key_presses
from edge.cli.loopback import loop_text, measure_loop
from edge.cli.mixer import Mixer
from edge.cli.status import meter, status_line
from edge.errors import EdgeError, InputError
from edge.outputs import output_folder, refuse_inputs
from edge.runtime.captureclock import NEAR_BLOCKS
from edge.runtime.chain import statistics_of
from edge.runtime.devices import BACKLOG_SECONDS, DeviceStream
from edge.runtime.graphs import LoadedGraph, load_graph
from edge.runtime.live import LiveEngine
from edge.runtime.loopback import ClickPlayer
from edge.runtime.portaudio import negotiate, parse_device
from edge.runtime.session import Session, new_session
from edge.runtime.shaping import Shaping
from edge.runtime.worker import FileSource, Recorder, Worker

DEFAULT_LATENCY = 1.0  # seconds, of separation from a device
RETRY_SECONDS = 1.0
RESTART_SECONDS = 10.0  # at least so long between two starts because the microphone is heard late
TIGHT_RTF = 0.7
LATE_SECONDS, LATE_SHARE = 2.0, 0.01  # more than this share of so long came too late: the device takes larger bursts
LONGEST_BURST = 0.2  # seconds


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
        session = _session(bundle, graph, options, reader)
        allowance = 0 if manifest.task == "enhance" or reader else _compute_frames(session, options, rate)
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
        _warm_up(session)
        stream = DeviceStream(engine, source, target, captured, buffer)
        live = _Live(engine, stream, mixer, recorder, reader)
        live.run(options.seconds)
    report = live.report(bundle, options)
    print(json.dumps(report, indent=2) if as_json else _summary(report))


def _session(bundle: Bundle, graph: LoadedGraph, options: LiveOptions, reader: AudioReader | None) -> Session:
    separates = bundle.manifest.task == "separate"
    if reader is not None and separates and options.latency is None:
        statistics = statistics_of(reader, bundle.manifest.sample_rate, bundle.manifest.channels)
        return new_session(bundle, graph, statistics=statistics, consistent=True)
    latency = options.latency
    if separates and latency is None:
        assert bundle.manifest.segment is not None
        latency = min(DEFAULT_LATENCY, bundle.manifest.segment / bundle.manifest.sample_rate)
    return new_session(bundle, graph, latency, consistent=separates)


def _warm_up(session: Session) -> None:
    """The first inference takes longer than all others; the session is reset."""
    session.process(_noise(session, session.latency_samples))
    session.reset()


def _time_hops(session: Session, hops: int) -> list[float]:
    """Seconds of each of `hops` inferences on noise; the session is reset."""
    seconds, noise = [], _noise(session, session.hop)
    for _ in range(hops):
        started = time.perf_counter()
        session.process(noise)
        seconds.append(time.perf_counter() - started)
    session.reset()
    return seconds


def _noise(session: Session, samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((*session.shape_in, samples), dtype=np.float32)


def _compute_frames(session: Session, options: LiveOptions, rate: int) -> int:
    """Device frames that one inference of low-latency separation may take: half as much again as measured here."""
    seconds = float(np.median(_time_hops(session, 4)[1:]))
    hop = session.hop / session.sample_rate
    rtf = seconds / hop
    advice = f"an inference takes {seconds:.2f} s on this machine and one is due every {hop:.2f} s (RTF {rtf:.2f})"
    if rtf >= 1:
        latency = session.latency_samples / session.sample_rate
        raise InputError(
            f"{latency:g} s of latency cannot be real time: {advice}; try --latency {1.5 * latency * rtf:.1f}, or "
            "--threads, or a more compressed model"
        )
    if rtf > TIGHT_RTF:
        print(f"warning: {advice}: expect late hops", file=sys.stderr)
    return round(min(hop, 1.5 * seconds) * rate)


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
        self._usual_backlog = self._restart_after = 0.0
        self._first_heard: float | None = None  # perf_counter, of the recording's first frame
        self._gap = False  # since its last frame devices were started
        self._seen_frames = self._seen_late = 0

    def run(self, seconds: float | None) -> None:
        self._apply()
        self._worker = Worker(self._engine, self._source)
        try:
            self._stream.open()
            if self._source is None:
                self._stream.ready()
            self._start()
            if seconds is not None:
                self._stop_at = time.monotonic() + seconds
            self._tell_latency()
            with key_presses() as pressed, status_line() as show, contextlib.suppress(KeyboardInterrupt):
                while not self._done():
                    time.sleep(0.05)
                    while key := pressed():
                        self._mixer.key(key)
                        self._apply()
                    self._record()
                    if not self._stream.poll():
                        self._reconnect()
                    elif late := self._late():
                        self._renew(late)
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
        """Start a microphone's engine when the device's habits are known; a file's worker starts its own."""
        if self._source is not None:
            return
        self._engine.start(self._stream.burst())
        self._usual_backlog, self._restart_after = self._stream.backlog, time.monotonic() + RESTART_SECONDS

    def _late(self) -> float:
        """Seconds by which the microphone is heard, where these became so many that a new start may help."""
        backlog = self._stream.backlog if self._source is None else 0.0
        grew = backlog > self._usual_backlog + BACKLOG_SECONDS and time.monotonic() > self._restart_after
        return backlog if grew else 0.0

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
        self._rest()
        while not self._done() and not self._stream.reopen():
            time.sleep(RETRY_SECONDS)
        self._go_on()
        if not self._stream.lost:
            print("the sound device is back", file=sys.stderr)

    def _renew(self, late: float) -> None:
        print(f"\nthe microphone is heard {late:.1f} s late: starting the devices again", file=sys.stderr)
        try:
            self._stream.renew(self._rest)
        except EdgeError:
            self._stream.drop()
            self._reconnect()
            return
        self._engine.counts.reconnects += 1
        self._go_on()

    def _rest(self) -> None:
        """While no device plays: the engine goes back to position 0, the recording stays where it is."""
        engine = self._engine
        if self._source is not None:  # a file just goes on where it was
            return
        assert self._worker is not None
        self._worker.stop()
        self._record(final=True)
        if self._recorder:
            self._recorder.restart()
        engine.restart()
        self._gap = True

    def _go_on(self) -> None:
        if self._source is not None:
            return
        self._worker = Worker(self._engine)
        self._start()

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
        """Wait a block longer where results keep coming too late although the model is fast enough."""
        engine, counts = self._engine, self._engine.counts
        frames, late = counts.frames - self._seen_frames, counts.late_frames - self._seen_late
        if self._source is not None or frames < LATE_SECONDS * engine.rate:
            return
        self._seen_frames, self._seen_late = counts.frames, counts.late_frames
        grows = engine.rtf < TIGHT_RTF and (engine.burst + 1) * engine.block <= LONGEST_BURST * engine.rate
        if late > LATE_SHARE * frames and grows:
            engine.lengthen()
            latency = 1000 * (engine.round_trip + 2 * engine.block) / engine.rate
            print(f"\nresults came late: the latency is {latency:.1f} ms now", file=sys.stderr)

    def _tell_latency(self) -> None:
        engine = self._engine
        if self._source is None:
            parts = self._latency()
            text = " + ".join(f"{name} {parts[name]:.1f}" for name in ("model", "conversion", "compute") if parts[name])
            print(
                f"latency {parts['round_trip']:.1f} ms: {text} + 2 blocks of {parts['block']:.1f}; the device's own "
                f"buffers, as it tells: {parts['device']:.1f} ms; {engine.rate} Hz",
                file=sys.stderr,
            )
        several = len(self._mixer.sources) > 1
        keys = "1-9 mute, shift-1-9 (or s, 1-9) solo" if several else "- weaker, + stronger"
        keys += ", b bypass, Ctrl-C stop"
        if sys.stderr.isatty():
            print(keys, file=sys.stderr)

    def _latency(self) -> dict[str, float]:
        """Milliseconds."""
        engine, to_ms = self._engine, 1000 / self._engine.rate
        model = 1000 * engine.session.latency_samples / engine.session.sample_rate
        rest = engine.round_trip * to_ms - model - (engine.conversion + 2 * engine.burst * engine.block) * to_ms
        return {
            "model": model,
            "conversion": engine.conversion * to_ms,
            "compute": rest if rest > 2 * to_ms else 0.0,  # less is the rounding to whole frames
            "block": engine.burst * engine.block * to_ms,
            "round_trip": engine.round_trip * to_ms,
            "device": 1000 * self._stream.latency,
        }

    def _status(self) -> dict[str, str]:
        engine, counts = self._engine, self._engine.counts
        parts = {
            "in": meter(engine, engine.captured.end, engine.captured),
            "out": meter(engine, engine.played.end, engine.played),
            "RTF": f"{engine.rtf:.3f}",
            "latency": f"{1000 * engine.round_trip / engine.rate:.0f} ms" if self._source is None else "",
            "late": str(counts.late_hops),
            "xruns": str(counts.xruns),
            "": str(self._mixer),
        }
        return {name: text for name, text in parts.items() if text}

    def report(self, bundle: Bundle, options: LiveOptions) -> dict:
        """What the run was, as JSON values."""
        engine, session = self._engine, self._engine.session
        return {
            "name": bundle.manifest.name,
            "backend": options.backend,
            "threads": options.threads,
            "sample_rate": engine.rate,
            "model_sample_rate": session.sample_rate,
            "block_frames": engine.block,
            "delay_frames": engine.delay,
            "latency_ms": self._latency() if self._source is None else None,
            "seconds": engine.counts.frames / engine.rate,
            "rtf": engine.rtf,
            "work_seconds": engine.percentiles(),
            "late_share": engine.counts.late_share,
            **asdict(engine.counts),
            "faulty_samples_in": session.counts.bad_inputs,
            "faulty_results": session.counts.bad_outputs,
            "record_lost_frames": self._recorder.lost if self._recorder else None,
        }


def _summary(report: dict) -> str:
    times = report["work_seconds"]
    spread = ", ".join(f"{name} {1000 * value:.2f} ms" for name, value in times.items())
    return (
        f"{report['name']} ({report['backend']}, {report['threads']} thread(s)): {report['seconds']:.1f} s played, RTF "
        f"{report['rtf']:.3f} ({spread}); late: {report['late_hops']} hops, {100 * report['late_share']:.2f} % of the "
        f"time; {report['xruns']} xruns, {report['reconnects']} reconnects"
    )
