// One channel at the caller's rate through an enhancer, and back to that rate.
import { EdgeError } from "./bundle.js";
import { EnhancerStream } from "./enhancer.js";
import { Resampler } from "./resample.js";

// What comes out, concatenated, is as long as the input and aligned with it: what edge-run makes of a recording.
export class Session {
  constructor(graph, sampleRate) {
    const { sample_rate: modelRate, latency_samples: latency } = graph.manifest;
    if (!(sampleRate >= 4000 && sampleRate <= 384000))
      throw new EdgeError(`a sample rate of ${sampleRate} Hz is outside 4000 to 384000 Hz`);
    this.stream = new EnhancerStream(graph);
    this.down = new Resampler(sampleRate, modelRate);
    this.up = new Resampler(modelRate, sampleRate);
    const seconds = latency / modelRate + this.down.delaySeconds + this.up.delaySeconds;
    // one sample of each rate for the rounding between them
    const rounding = sampleRate === modelRate ? 0 : 2 + Math.ceil((2 * sampleRate) / modelRate);
    this.latencySamples = Math.ceil(seconds * sampleRate - 1e-6) + rounding;
    this.keep = 0; // share of the input that stays
    this.reset();
  }

  // By at most so many dB is anything made quieter; null: no bound.
  setAttenuation(limit) {
    if (limit !== null && !(limit >= 0)) throw new EdgeError(`an attenuation limit of ${limit} dB is not positive`);
    this.keep = limit === null ? 0 : 10 ** (-limit / 20);
  }

  reset() {
    for (const part of [this.stream, this.down, this.up]) part.reset();
    this.received = this.delivered = 0;
    this.waiting = new Float32Array(0); // input whose output is not out yet
  }

  async process(samples) {
    const waiting = new Float32Array(this.waiting.length + samples.length);
    waiting.set(this.waiting);
    waiting.set(samples, this.waiting.length);
    this.waiting = waiting;
    this.received += samples.length;
    return this.deliver(this.up.process(await this.stream.process(this.down.process(samples))));
  }

  async flush() {
    const last = this.down.flush();
    const pieces = [
      this.up.process(await this.stream.process(last)),
      this.up.process(await this.stream.flush()),
      this.up.flush(),
    ];
    const out = this.deliver(concatenated(pieces));
    const rest = this.deliver(new Float32Array(this.received - this.delivered)); // what the conversions rounded away
    this.reset();
    return concatenated([out, rest]);
  }

  deliver(samples) {
    const out = samples.subarray(0, this.received - this.delivered);
    if (this.keep) for (let i = 0; i < out.length; i++) out[i] += this.keep * (this.waiting[i] - out[i]);
    this.waiting = this.waiting.subarray(out.length);
    this.delivered += out.length;
    return out;
  }
}

export function concatenated(pieces) {
  const all = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
