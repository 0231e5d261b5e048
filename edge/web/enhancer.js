// Streams one channel through an enhancer's graph, hop by hop, at the model's rate.
import { Binding } from "./graph.js";

const SILENCE = 1e-4; // RMS, -80 dBFS: what is below counts as silent
const SILENT_HOPS = 5; // after so many silent hops the output is zero and nothing is run
export const MAX_SAMPLE = 1e4; // beyond it (+80 dBFS) a sample is a fault, and is taken for zero

// What `process` and `flush` give, concatenated, is as long as the input and aligned with it.
export class EnhancerStream {
  constructor(graph) {
    const { hop, delay } = graph.manifest;
    Object.assign(this, { hop, delay });
    this.binding = new Binding(graph);
    this.badInputs = this.badOutputs = 0;
    this.fadeIn = Math.min(delay, hop); // samples
    this.reset();
  }

  reset() {
    this.binding.reset();
    this.fill = 0;
    this.skip = this.delay; // the graph's first `delay` samples precede the input
    this.owed = 0;
    this.silent = 0;
  }

  async process(samples) {
    this.owed += samples.length;
    const out = new Float32Array(Math.max(0, this.hop * Math.floor((this.fill + samples.length) / this.hop) - this.skip));
    let done = 0;
    for (let start = 0; start < samples.length; ) {
      const taken = Math.min(this.hop - this.fill, samples.length - start);
      this.binding.input.set(samples.subarray(start, start + taken), this.fill);
      this.fill += taken;
      start += taken;
      if (this.fill === this.hop) done += await this.run(out, done);
    }
    return out;
  }

  async flush() {
    const out = new Float32Array(this.owed);
    let done = 0;
    while (this.owed > 0) {
      this.binding.input.fill(0, this.fill);
      done += await this.run(out, done);
    }
    this.reset();
    return out;
  }

  async run(out, at) {
    this.fill = 0;
    const enhanced = await this.enhance();
    const skipped = Math.min(this.skip, this.hop);
    this.skip -= skipped;
    const count = Math.min(this.hop - skipped, this.owed);
    if (enhanced) out.set(enhanced.subarray(skipped, skipped + count), at);
    this.owed -= count;
    return count;
  }

  // The graph's output for the full frame; null for a silent one.
  async enhance() {
    const { binding, hop } = this;
    const frame = binding.input;
    let energy = 0;
    for (let i = 0; i < hop; i++) {
      if (!(Math.abs(frame[i]) < MAX_SAMPLE)) {
        this.badInputs++;
        frame[i] = 0;
      }
      energy += frame[i] ** 2;
    }
    let woken = this.silent >= SILENT_HOPS;
    if (energy < SILENCE ** 2 * hop) {
      this.silent++;
      if (woken) return null;
      woken = false;
    } else {
      this.silent = 0;
    }
    await binding.run();
    const enhanced = binding.output;
    if (!enhanced.every(Number.isFinite)) {
      this.badOutputs++;
      binding.reset();
      return null;
    }
    if (woken) for (let i = 0; i < this.fadeIn; i++) enhanced[i] *= i / Math.max(1, this.fadeIn - 1);
    else if (this.silent === SILENT_HOPS) for (let i = 0; i < hop; i++) enhanced[i] *= 1 - i / Math.max(1, hop - 1);
    return enhanced;
  }
}
