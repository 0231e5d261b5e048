// A file: decoded, played and saved here.
import { interleaved, wavHead } from "./web/wav.js";

const PIECE = 1 << 17; // frames that are worked on at once
const OTHER_RATE = 48_000; // of files that do not say theirs in a place known here

// {channels: one or two Float32Arrays, rate} of an audio file, at the file's own rate where that is found.
export async function decode(file) {
  const data = await file.arrayBuffer();
  const rate = sampleRate(new DataView(data)) ?? OTHER_RATE;
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(data);
  } catch {
    throw new Error(`This browser cannot decode ${file.name}.`);
  }
  const count = Math.min(2, audio.numberOfChannels);
  return { channels: Array.from({ length: count }, (_, c) => audio.getChannelData(c)), rate };
}

// The sample rate that a WAV, FLAC, Ogg or MP3 file declares.
function sampleRate(view) {
  const size = view.byteLength;
  if (size < 64) return null;
  const word = (at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
  let rate = null;
  if (word(0) === "RIFF") {
    for (let at = 12; at + 16 < size; at += 8 + view.getUint32(at + 4, true))
      if (word(at) === "fmt ") {
        rate = view.getUint32(at + 12, true);
        break;
      }
  } else if (word(0) === "fLaC") {
    rate = view.getUint32(18) >>> 12;
  } else if (word(0) === "OggS") {
    rate = word(28) === "Opus" ? 48_000 : view.getUint32(40, true);
  } else {
    const start = word(0).startsWith("ID3") ? 10 + [6, 7, 8, 9].reduce((sum, at) => (sum << 7) | (view.getUint8(at) & 127), 0) : 0;
    const head = start + 4 < size ? view.getUint32(start) : 0;
    if (head >>> 21 === 0x7ff) rate = [44_100, 48_000, 32_000][(head >>> 10) & 3] >> [2, 9, 1, 0][(head >>> 19) & 3];
  }
  return rate >= 8000 && rate <= 96_000 ? rate : null; // what an AudioContext must take
}

// Versions of one recording at once, each at its own gain, from any position.
export class Player {
  // `versions`: {name: channels}; `gains`: {name: gain}; `onend()` at the end.
  constructor(versions, rate, { gains, volume, speaker, onend }) {
    this.context = new AudioContext({ sampleRate: rate });
    if (speaker && this.context.setSinkId) this.context.setSinkId(speaker).catch(() => {});
    this.volume = new GainNode(this.context, { gain: volume });
    this.volume.connect(this.context.destination);
    this.onend = onend;
    this.gains = {};
    this.buffers = {};
    for (const [name, channels] of Object.entries(versions)) {
      this.buffers[name] = this.context.createBuffer(channels.length, channels[0].length, rate);
      channels.forEach((samples, c) => this.buffers[name].copyToChannel(samples, c));
      this.gains[name] = new GainNode(this.context, { gain: gains[name] });
      this.gains[name].connect(this.volume);
    }
    this.sources = [];
    this.seek(0);
  }

  get duration() { return Object.values(this.buffers)[0].duration; }
  get position() { return Math.min(this.duration, Math.max(0, this.context.currentTime - this.origin)); }

  seek(position) {
    for (const source of this.sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    const rate = this.context.sampleRate;
    const start = Math.ceil((this.context.currentTime + 0.05) * rate) / rate; // between samples it would interpolate
    const offset = Math.round(Math.min(position, this.duration) * rate) / rate;
    this.origin = start - offset;
    this.sources = Object.entries(this.buffers).map(([name, buffer]) => {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.gains[name]);
      source.start(start, offset);
      return source;
    });
    this.sources[0].onended = this.onend;
  }

  setGains(gains) {
    for (const [name, gain] of Object.entries(gains))
      this.gains[name].gain.setTargetAtTime(gain, this.context.currentTime, 0.01);
  }

  setVolume(volume) { this.volume.gain.setTargetAtTime(volume, this.context.currentTime, 0.01); }
  setSpeaker(id) { if (this.context.setSinkId) this.context.setSinkId(id).catch(() => {}); }

  stop() {
    for (const source of this.sources) source.onended = null;
    if (this.context.state !== "closed") this.context.close();
  }
}

// Give a WAV file to the person; written in pieces, so that the page stays alive.
export async function save(name, channels, rate) {
  const frames = channels[0].length;
  const pieces = [wavHead(channels.length, frames, rate)];
  for (let at = 0; at < frames; at += PIECE) {
    pieces.push(interleaved(channels, at, Math.min(frames, at + PIECE)));
    await pause();
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(pieces, { type: "audio/wav" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// `share` of the enhanced signal, and the rest of the original.
export async function mixed(original, enhanced, share) {
  if (share === 1) return enhanced;
  const out = enhanced.map((channel) => new Float32Array(channel.length));
  for (let at = 0; at < enhanced[0].length; at += PIECE) {
    out.forEach((samples, c) => {
      const end = Math.min(samples.length, at + PIECE);
      for (let i = at; i < end; i++) samples[i] = original[c][i] + share * (enhanced[c][i] - original[c][i]);
    });
    await pause();
  }
  return out;
}

const pause = () => new Promise((resolve) => setTimeout(resolve));
