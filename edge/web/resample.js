// Streaming sample-rate conversion, its delay compensated: a polyphase filter, a Kaiser-windowed sinc, fitted to
// impulse responses of soxr's "HQ", which edge-run uses.

const MAX_PHASES = 1024; // beyond, coefficients are interpolated: an error below -110 dB
const tables = new Map(); // of the last pairs of rates

export class Resampler {
  constructor(rateIn, rateOut) {
    Object.assign(this, { rateIn, rateOut });
    this.same = rateIn === rateOut;
    const divisor = gcd(rateIn, rateOut);
    this.up = rateOut / divisor; // output sample k lies at input position k * down / up
    this.down = rateIn / divisor;
    // input samples on each side of an output sample
    const { reach, phases, table } = this.same ? { reach: 0 } : filterTable(rateIn, rateOut, this.up);
    Object.assign(this, { reach, phases, table });
    this.reset();
  }

  get delaySeconds() { return this.reach / this.rateIn; }

  reset() {
    this.line = new Float32Array(Math.max(0, this.reach - 1)); // input from index `start` on
    this.start = -this.line.length;
    this.received = this.emitted = 0;
    this.base = this.phase = 0; // input index and phase of the next output sample
  }

  process(block) {
    if (this.same) return block.slice();
    this.append(block);
    return this.convert(Infinity);
  }

  // The rest, at least one sample in all where any came in; the converter starts afresh afterwards.
  flush() {
    if (this.same) return new Float32Array(0);
    const total = Math.max(Math.min(this.received, 1), Math.floor((2 * this.received * this.up + this.down) / (2 * this.down)));
    this.append(new Float32Array(2 * this.reach + Math.ceil(this.down / this.up)));
    const rest = this.convert(total);
    this.reset();
    return rest;
  }

  append(block) {
    const drop = Math.max(0, this.base - (this.reach - 1) - this.start);
    const kept = this.line.subarray(drop);
    const line = new Float32Array(kept.length + block.length);
    line.set(kept);
    line.set(block, kept.length);
    this.line = line;
    this.start += drop;
    this.received += block.length;
  }

  convert(total) {
    const { line, table, up, down, phases, reach } = this;
    const whole = Math.floor(down / up);
    const part = down % up;
    const room = Math.max(0, Math.ceil(((this.received - reach - this.base) * up - this.phase) / down));
    const out = new Float32Array(Math.min(room, total - this.emitted));
    const taps = 2 * reach;
    for (let n = 0; n < out.length; n++) {
      const first = this.base - (reach - 1) - this.start;
      const place = (this.phase * phases) / up;
      const row = Math.floor(place);
      out[n] = dot(line, first, table, row * taps, taps);
      if (place !== row) out[n] += (place - row) * (dot(line, first, table, (row + 1) * taps, taps) - out[n]);
      this.base += whole;
      this.phase += part;
      if (this.phase >= up) {
        this.phase -= up;
        this.base++;
      }
    }
    this.emitted += out.length;
    return out;
  }
}

function dot(line, first, table, from, taps) {
  let even = 0;
  let odd = 0;
  for (let j = 0; j < taps; j += 2) {
    even += line[first + j] * table[from + j];
    odd += line[first + j + 1] * table[from + j + 1];
  }
  return even + odd;
}

function filterTable(rateIn, rateOut, up) {
  const key = `${rateIn} ${rateOut}`;
  if (!tables.has(key)) {
    if (tables.size >= 8) tables.clear();
    const filter = lowPass(rateIn, rateOut);
    const reach = Math.ceil((filter.half * rateIn) / Math.min(rateIn, rateOut));
    const phases = Math.min(up, MAX_PHASES);
    const table = new Float32Array((phases + 1) * 2 * reach);
    for (let p = 0; p <= phases; p++)
      for (let j = 0; j < 2 * reach; j++) table[p * 2 * reach + j] = filter.at(j - (reach - 1) - p / phases);
    tables.set(key, { reach, phases, table });
  }
  return tables.get(key);
}

// 130 dB where one rate divides the other (soxr then has one such filter), 70 dB else (soxr has two in a row).
function lowPass(rateIn, rateOut) {
  const low = Math.min(rateIn, rateOut);
  const ratio = Math.max(rateIn, rateOut) / low;
  const integer = Number.isInteger(ratio);
  const cutoff = integer ? 0.9568718 : 0.95684;
  const beta = integer ? 13.04 : 15.98;
  // half of the length, in samples of the lower rate
  const half = integer ? Math.floor(Math.floor((4 * Math.ceil((193.3 * ratio - 1) / 4) + 1) / 2) / ratio) : 110;
  const scale = low / rateIn;
  const peak = bessel(beta);
  const at = (t) => {
    const x = t * scale;
    const r = x / half;
    if (Math.abs(r) >= 1) return 0;
    const y = Math.PI * cutoff * x;
    const sinc = Math.abs(y) < 1e-9 ? 1 : Math.sin(y) / y;
    return (cutoff * sinc * scale * bessel(beta * Math.sqrt(1 - r * r))) / peak;
  };
  return { half, at };
}

// The modified Bessel function I0 by its power series.
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-18 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}
