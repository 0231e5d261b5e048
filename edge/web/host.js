// One loaded bundle and the streams on it: what a worker holds in a browser, and the program itself in Node.
import { EdgeError, openBundle } from "./bundle.js";
import { Graph, checkGolden } from "./graph.js";
import { Resampler } from "./resample.js";
import { separate } from "./separator.js";
import { Session, concatenated } from "./session.js";

const PIECE = 0.25; // seconds of a recording between two looks at what else is to do

export class Host {
  constructor() {
    this.sessions = new Map();
    this.last = new Map(); // stream -> its last call: calls of a stream follow one another
    this.cancelled = new Set();
    this.count = 0;
  }

  async load({ bundle, runtime, task }) {
    const opened = await openBundle(bundle);
    const { manifest } = opened;
    if (manifest.task !== task)
      throw new EdgeError(`${opened.where}: ${manifest.name} is made to ${manifest.task}, not to ${task}`);
    this.graph = await Graph.load(opened, runtime);
    await checkGolden(opened, this.graph);
    return { ...manifest, files: undefined, graphs: undefined };
  }

  open({ sampleRate, band }) {
    const session = new Session(this.graph, sampleRate ?? this.graph.manifest.sample_rate, band);
    this.sessions.set(++this.count, session);
    return { stream: this.count, latencySamples: session.latencySamples };
  }

  process({ stream, samples }) { return this.inTurn(stream, (session) => session.process(samples)); }
  flush({ stream }) { return this.inTurn(stream, (session) => session.flush()); }
  reset({ stream }) { return this.inTurn(stream, (session) => session.reset()); }
  setAttenuation({ stream, limit }) { return this.inTurn(stream, (session) => session.setAttenuation(limit)); }

  close({ stream }) {
    this.sessions.delete(stream);
    this.last.delete(stream);
  }

  // Audio that comes through `port` goes back through it, enhanced.
  attach({ stream, port }) {
    port.onmessage = async ({ data: { samples } }) => {
      if (!samples || !this.sessions.has(stream)) return;
      try {
        const enhanced = await this.process({ stream, samples });
        port.postMessage({ enhanced }, [enhanced.buffer]);
      } catch (error) {
        port.postMessage({ failed: error.message });
      }
    };
  }

  // Each channel of a recording on its own.
  async enhance({ channels, sampleRate, band, limit = null, job }, onprogress) {
    this.check(channels);
    const rate = sampleRate ?? this.graph.manifest.sample_rate;
    const out = [];
    for (const [index, channel] of channels.entries()) {
      const session = new Session(this.graph, rate, band);
      session.setAttenuation(limit);
      const pieces = [];
      const step = Math.ceil(PIECE * rate);
      for (let at = 0; at < channel.length; at += step) {
        pieces.push(await session.process(channel.subarray(at, at + step)));
        onprogress?.((index + Math.min(1, (at + step) / channel.length)) / channels.length);
        await this.breathe(job);
      }
      pieces.push(await session.flush());
      if (session.stream.badOutputs) throw new EdgeError("the model gave NaN or infinite samples; try an fp32 bundle");
      out.push(concatenated(pieces));
    }
    return out;
  }

  // {source: [Float32Array for each channel]}, at the recording's rate.
  async separate({ channels, sampleRate, job }, onprogress) {
    this.check(channels);
    const { sample_rate: modelRate, channels: count, sources } = this.graph.manifest;
    if (channels.length > 1 && channels.length < count)
      throw new EdgeError(`the recording has ${channels.length} channels, the model needs ${count}`);
    const rate = sampleRate ?? modelRate;
    const mix = Array.from({ length: count }, (_, c) => channels[channels.length === 1 ? 0 : c]);
    const stems = await separate(this.graph, mix.map((channel) => converted(channel, rate, modelRate)), (done) => {
      onprogress?.(done);
      return this.breathe(job);
    });
    const out = {};
    for (const [index, source] of sources.entries())
      out[source] = stems[index].map((channel) => converted(channel, modelRate, rate, mix[0].length));
    return out;
  }

  cancel({ job }) { this.cancelled.add(job); }

  check(channels) {
    if (!channels.length || !channels[0].length) throw new EdgeError("the recording has no samples");
    if (channels.some((channel) => channel.length !== channels[0].length))
      throw new EdgeError("the recording's channels differ in length");
    if (!channels.every((channel) => channel.every(Number.isFinite)))
      throw new EdgeError("the recording has samples that are no finite numbers");
  }

  // Let messages in.
  async breathe(job) {
    await new Promise((resolve) => setTimeout(resolve));
    if (this.cancelled.delete(job)) throw new EdgeError("cancelled");
  }

  inTurn(stream, call) {
    const session = this.sessions.get(stream);
    if (!session) return Promise.reject(new EdgeError("this stream is closed"));
    const next = (this.last.get(stream) ?? Promise.resolve()).then(() => call(session));
    this.last.set(stream, next.catch(() => {}));
    return next;
  }
}

function converted(channel, rateIn, rateOut, length) {
  const resampler = new Resampler(rateIn, rateOut);
  const all = concatenated([resampler.process(channel), resampler.flush()]);
  if (length === undefined || all.length === length) return all;
  const out = new Float32Array(length);
  out.set(all.subarray(0, length));
  return out;
}
