// The band above the model's, which conversion to the model's rate takes away.

const SMOOTHING = 0.5; // of the energies, from one hop to the next
const TINY = 1e-12; // energy of a hop: below it there is nothing to compare

// The gain less 1 that an enhancer gave to the upper part of its band, as a line from hop to hop. Both sides are
// weighted by (1, -2, 1) / 4, which leaves the top of the band, and their energies are smoothed.
export class HopGain {
  constructor({ hop, delay }) {
    this.hop = hop;
    this.first = hop - (delay % hop); // samples up to the end of the first hop
    this.reset();
  }

  reset() {
    this.left = this.first;
    this.last = 0;
    this.sides = [0, 1].map(() => ({ energy: 0, older: 0, old: 0 }));
  }

  // Of the model's input and its result, whole hops unless it is the end.
  process(given, result) {
    const out = new Float32Array(given.length);
    for (let start = 0; start < given.length; ) {
      const count = Math.min(this.left, given.length - start);
      const [before, after] = [given, result].map((side, i) => next(this.sides[i], side.subarray(start, start + count)));
      const now = before < TINY ? 0 : Math.min(1, Math.sqrt(after / before)) - 1;
      for (let i = 0; i < count; i++) out[start + i] = this.last + ((now - this.last) * (i + 1)) / count;
      this.last = now;
      this.left = this.left - count || this.hop;
      start += count;
    }
    return out;
  }
}

function next(side, samples) {
  let sum = 0;
  for (const sample of samples) {
    sum += ((sample - 2 * side.old + side.older) / 4) ** 2;
    side.older = side.old;
    side.old = sample;
  }
  side.energy = SMOOTHING * side.energy + (1 - SMOOTHING) * sum;
  return side.energy;
}
