// Plays a track, delayed, or what was made of it elsewhere: both from the same position, so that a switch between them
// changes nothing but the sound. Samples go out through a port as {samples} and come back as {enhanced}; where they
// are late, the original is heard and counted.

const STEP = 0.02; // seconds by which the delay grows when samples were late, at most once a second
const MOST = 0.5; // seconds of delay
const BACKLOG = 1; // seconds that may be on their way before no more is sent
const REPORT = 0.05; // seconds

class Aligner extends AudioWorkletProcessor {
  constructor({ processorOptions: { chunk, delay } }) {
    super();
    this.size = 2 ** Math.ceil(Math.log2(4 * sampleRate));
    this.original = new Float32Array(this.size); // rings, sample i at i % size
    this.enhanced = new Float32Array(this.size);
    this.written = 0; // samples of the track
    this.handed = 0; // samples that went out or were left out
    this.received = 0; // samples that came back; sample i belongs to sample i of the track
    this.gaps = []; // [start, length] of what was never sent
    this.delay = delay;
    this.grown = 0; // when
    this.chunk = new Float32Array(chunk);
    this.filled = 0;
    this.mode = 1; // share of the enhanced signal: 1 is all of it
    this.gain = 0; // of the enhanced signal now
    this.late = 0; // samples that are played as they came
    this.meter = { n: 0, in: 0, out: 0 };
    this.running = true;
    this.peer = null;
    this.port.onmessage = ({ data, ports }) => this.command(data, ports);
  }

  command({ mode, stop }, [peer]) {
    if (mode !== undefined) this.mode = mode;
    if (stop) {
      this.running = false;
      this.peer?.close();
    }
    if (peer) {
      this.peer = peer;
      peer.onmessage = ({ data }) => this.take(data);
    }
  }

  take({ enhanced, gap, failed }) {
    if (failed) this.port.postMessage({ failed });
    if (gap) this.gaps.push(gap);
    if (enhanced) for (const sample of enhanced) {
      this.skip();
      this.enhanced[this.received++ % this.size] = sample;
    }
    this.skip();
  }

  skip() {
    while (this.gaps.length && this.gaps[0][0] === this.received) {
      for (let left = this.gaps.shift()[1]; left > 0; left--, this.received++) {
        this.enhanced[this.received % this.size] = this.original[this.received % this.size];
        if (this.received >= this.written - this.delay) this.late++;
      }
    }
  }

  process(inputs, outputs) {
    const out = outputs[0][0];
    const n = out.length;
    this.record(inputs[0][0], n);
    const start = this.written - n - this.delay;
    // One block ahead, so that there is always time to fade.
    const ready = this.received >= start + 2 * n;
    const from = this.delay;
    if (!ready && start >= 0) {
      this.late += n;
      if (!this.gaps.length && currentTime - this.grown >= 1 && this.delay + STEP * sampleRate <= MOST * sampleRate) {
        this.grown = currentTime;
        this.delay += Math.round(STEP * sampleRate);
      }
    }
    const goal = ready ? this.mode : 0;
    const moved = this.delay - from;
    for (let i = 0; i < n; i++) {
      const t = (i + 1) / n;
      const gain = this.gain + (goal - this.gain) * t;
      out[i] = this.at(start + i, gain);
      if (moved) out[i] += (this.at(start + i - moved, gain) - out[i]) * t;
    }
    this.gain = goal;
    this.measure(start, n, ready);
    return this.running;
  }

  // Keep the track's block, and hand it on in chunks.
  record(block, n) {
    for (let i = 0; i < n; i++) {
      const sample = block ? block[i] : 0;
      this.original[this.written++ % this.size] = sample;
      this.chunk[this.filled++] = sample;
      if (this.filled === this.chunk.length) this.hand();
    }
  }

  hand() {
    const count = this.filled;
    this.filled = 0;
    // What was never sent is not awaited: the other end keeps its last samples until more come.
    const awaited = this.handed - this.received - this.gaps.reduce((sum, [, length]) => sum + length, 0);
    if (!this.peer || awaited > BACKLOG * sampleRate + this.delay) {
      this.gaps.push([this.handed, count]);
      this.handed += count;
      this.skip();
      return;
    }
    const samples = this.chunk.slice();
    this.peer.postMessage({ samples, at: this.handed }, [samples.buffer]);
    this.handed += count;
  }

  at(position, gain) {
    if (position < 0) return 0;
    const original = this.original[position % this.size];
    return gain === 0 ? original : original + (this.enhanced[position % this.size] - original) * gain;
  }

  measure(start, n, ready) {
    const meter = this.meter;
    for (let i = 0; i < n; i++) {
      meter.in += this.at(start + i, 0) ** 2;
      meter.out += this.at(start + i, ready ? 1 : 0) ** 2;
    }
    meter.n += n;
    if (meter.n < REPORT * sampleRate) return;
    this.port.postMessage({
      levels: [Math.sqrt(meter.in / meter.n), Math.sqrt(meter.out / meter.n)],
      late: this.late,
      delay: this.delay,
    });
    this.meter = { n: 0, in: 0, out: 0 };
  }
}

registerProcessor("aligner", Aligner);
