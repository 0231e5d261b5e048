// A file through the server: decoded here, enhanced there, played and saved here.
import { Stream } from "./stream.js";

const AHEAD = 4; // seconds that may be on their way at a time
const CHUNK = 0.1; // seconds

// The channels' mean of an audio file at `rate` Hz.
export async function decode(file, rate) {
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`This browser cannot decode ${file.name}.`);
  }
  const mono = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; c++) {
    const channel = audio.getChannelData(c);
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / audio.numberOfChannels;
  }
  return mono;
}

// `samples` at `rate` Hz, enhanced; `onprogress(fraction)`.
export async function enhance(samples, rate, onprogress) {
  const out = new Float32Array(samples.length);
  let received = 0;
  let wake = () => {};
  let lost = null;
  const stream = await Stream.open(
    rate,
    (block) => {
      out.set(block.subarray(0, out.length - received), received);
      received += block.length;
      onprogress(received / out.length);
      wake();
    },
    (reason) => {
      lost = new Error(reason);
      wake();
    },
  );
  try {
    const chunk = Math.round(CHUNK * rate);
    const ahead = AHEAD * rate + stream.ready.latency_samples;
    for (let sent = 0; sent < samples.length; sent += chunk) {
      while (sent - received > ahead && !lost) await new Promise((resolve) => (wake = resolve));
      if (lost) throw lost;
      stream.send(samples.slice(sent, sent + chunk));
    }
    await stream.flush();
  } finally {
    stream.close();
  }
  return out;
}

// Both versions at once, one of them heard.
export class Player {
  constructor(original, enhanced, rate, mode, volume, onend) {
    this.context = new AudioContext({ sampleRate: rate });
    this.volume = new GainNode(this.context, { gain: volume });
    this.volume.connect(this.context.destination);
    this.gains = {};
    const start = Math.ceil((this.context.currentTime + 0.05) * rate) / rate; // between samples it would interpolate
    for (const [name, samples] of Object.entries({ original, enhanced })) {
      const buffer = this.context.createBuffer(1, samples.length, rate);
      buffer.copyToChannel(samples, 0);
      this.gains[name] = new GainNode(this.context, { gain: name === mode ? 1 : 0 });
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.gains[name]).connect(this.volume);
      source.start(start);
      if (name === "enhanced") source.onended = onend;
    }
  }

  setMode(mode) {
    for (const [name, gain] of Object.entries(this.gains))
      gain.gain.setTargetAtTime(name === mode ? 1 : 0, this.context.currentTime, 0.01);
  }

  setVolume(volume) { this.volume.gain.setTargetAtTime(volume, this.context.currentTime, 0.01); }
  stop() { if (this.context.state !== "closed") this.context.close(); }
}

// A float32 WAV file.
export function wav(samples, rate) {
  const head = new DataView(new ArrayBuffer(58));
  const text = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  const bytes = samples.length * 4;
  text(0, "RIFF"); head.setUint32(4, 50 + bytes, true); text(8, "WAVE");
  text(12, "fmt "); head.setUint32(16, 18, true);
  head.setUint16(20, 3, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, rate * 4, true);
  head.setUint16(32, 4, true); head.setUint16(34, 32, true);
  text(38, "fact"); head.setUint32(42, 4, true); head.setUint32(46, samples.length, true);
  text(50, "data"); head.setUint32(54, bytes, true);
  return new Blob([head, samples], { type: "audio/wav" });
}
