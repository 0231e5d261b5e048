// One channel at the caller's rate through an enhancer, and back to that rate.
import { EdgeError } from "./bundle.js";
import { EnhancerStream, MAX_SAMPLE } from "./enhancer.js";
import { HopGain } from "./fullband.js";
import { Resampler } from "./resample.js";

// What comes out, concatenated, is as long as the input and aligned with it: what edge-run makes of a recording.
export class Session {
  // `band`: "full" keeps what lies above the model's band, under the gain that the model gave below it; "model" does not.
  constructor(graph, sampleRate, band = "full") {
    const { sample_rate: modelRate, latency_samples: latency } = graph.manifest;
    if (!(sampleRate >= 4000 && sampleRate <= 384000))
      throw new EdgeError(`a sample rate of ${sampleRate} Hz is outside 4000 to 384000 Hz`);
    if (!["full", "model"].includes(band)) throw new EdgeError(`a band of ${band} is not known: full or model`);
    this.stream = new EnhancerStream(graph);
    this.down = new Resampler(sampleRate, modelRate);
    this.gain = band === "full" && sampleRate > modelRate ? new HopGain(graph.manifest) : null;
    // the result; in full band the model's input and the gain less 1 as well, which so are delayed alike
    this.ups = Array.from({ length: this.gain ? 3 : 1 }, () => new Resampler(modelRate, sampleRate));
    const seconds = latency / modelRate + this.down.delaySeconds + this.ups[0].delaySeconds;
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
    for (const part of [this.stream, this.down, this.gain, ...this.ups]) part?.reset();
    this.received = this.delivered = 0;
    this.waiting = new Float32Array(0); // input whose output is not out yet
    this.lowered = new Float32Array(0); // the same at the model's rate, where the gain needs it
  }

  async process(samples) {
    const given = samples.map((sample) => (Math.abs(sample) < MAX_SAMPLE ? sample : 0));
    this.waiting = concatenated([this.waiting, given]);
    this.received += given.length;
    return this.deliver(await this.enhanced(this.down.process(given)));
  }

  async flush() {
    const pieces = [await this.enhanced(this.down.flush()), this.raised(await this.stream.flush())];
    pieces.push(this.ups.map((up) => up.flush()));
    const out = this.deliver(this.ups.map((_, i) => concatenated(pieces.map((piece) => piece[i]))));
    // what the conversions rounded away
    const rest = this.deliver([new Float32Array(this.received - this.delivered)]);
    this.reset();
    return concatenated([out, rest]);
  }

  // Samples at the model's rate to what `deliver` takes.
  async enhanced(lowered) {
    if (this.gain) this.lowered = concatenated([this.lowered, lowered]);
    return this.raised(await this.stream.process(lowered));
  }

  raised(result) {
    if (!this.gain) return [this.ups[0].process(result)];
    const given = this.lowered.subarray(0, result.length);
    this.lowered = this.lowered.subarray(result.length);
    const sides = [result, given, this.gain.process(given, result)];
    return this.ups.map((up, i) => up.process(sides[i]));
  }

  deliver([result, model, gain]) {
    const out = result.subarray(0, this.received - this.delivered);
    const { waiting, keep } = this;
    for (let i = 0; i < out.length; i++) {
      if (gain) out[i] += Math.min(1, Math.max(0, 1 + gain[i])) * (waiting[i] - model[i]);
      if (keep) out[i] = keep * waiting[i] + (1 - keep) * out[i];
    }
    this.waiting = waiting.subarray(out.length);
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
