// Microphone in, enhanced out.
import { Stream } from "./stream.js";

const SPARE = 0.06; // seconds that the way to the server and back may take before samples are late
const BACKLOG = 1; // seconds that may wait to be sent before frames are dropped

export class Live {
  // `onlevels({in, out, latency, dropped})` comes some 20 times a second, `onend(reason)` where it was not asked for.
  static async start(modelRate, mode, volume, onlevels, onend) {
    const live = new Live(onlevels, onend);
    try {
      await live.open(modelRate, mode, volume);
    } catch (error) {
      live.stop();
      throw error;
    }
    return live;
  }

  constructor(onlevels, onend) {
    this.onlevels = onlevels;
    this.onend = onend;
    this.heard = 0; // samples of the microphone that came here
  }

  async open(modelRate, mode, volume) {
    this.microphone = await microphone();
    this.context = new AudioContext({ sampleRate: modelRate, latencyHint: "interactive" });
    let source;
    try {
      source = this.context.createMediaStreamSource(this.microphone);
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      // Firefox takes no microphone into a context of another rate: the server resamples then, at more latency.
      await this.context.close();
      this.context = new AudioContext({ latencyHint: "interactive" });
      source = this.context.createMediaStreamSource(this.microphone);
    }
    const rate = this.context.sampleRate;
    await this.context.audioWorklet.addModule("worklet.js");
    this.stream = await Stream.open(
      rate,
      (enhanced) => this.node?.port.postMessage({ enhanced }, [enhanced.buffer]),
      (reason) => this.end(reason),
    );
    const { hop, model_sample_rate: modelHz, latency_samples: latency } = this.stream.ready;
    this.chunk = Math.round((hop * rate) / modelHz);
    this.node = new AudioWorkletNode(this.context, "aligner", {
      channelCount: 1,
      channelCountMode: "explicit",
      outputChannelCount: [1],
      processorOptions: { chunk: this.chunk, delay: latency + this.chunk + Math.round(SPARE * rate) },
    });
    this.node.port.onmessage = ({ data }) => (data.samples ? this.send(data.samples) : this.report(data));
    this.gain = new GainNode(this.context, { gain: volume });
    this.setMode(mode);
    source.connect(this.node).connect(this.gain).connect(this.context.destination);
    const [track] = this.microphone.getAudioTracks();
    track.onended = () => this.end("the microphone is gone");
    await this.context.resume();
  }

  get sampleRate() { return this.context.sampleRate; }
  setMode(mode) { this.node.port.postMessage({ mode: mode === "enhanced" ? 1 : 0 }); }
  setVolume(volume) { this.gain.gain.setTargetAtTime(volume, this.context.currentTime, 0.01); }

  send(samples) {
    if (this.stopped) return;
    if (this.stream.unsent > BACKLOG * this.sampleRate) {
      this.node.port.postMessage({ gap: [this.heard, samples.length] });
    } else {
      this.stream.send(samples);
    }
    this.heard += samples.length;
  }

  report({ levels, late, delay }) {
    if (this.stopped) return;
    const { baseLatency = 0, outputLatency = 0, sampleRate } = this.context;
    this.onlevels({
      levels,
      latency: delay / sampleRate + Math.max(baseLatency, outputLatency),
      model: this.stream.ready.latency_samples / sampleRate,
      dropped: Math.ceil(late / this.chunk),
    });
  }

  end(reason) {
    if (this.stopped) return;
    this.stop();
    this.onend(reason);
  }

  stop() {
    this.stopped = true;
    this.stream?.close();
    this.node?.port.postMessage({ stop: true });
    for (const track of this.microphone?.getTracks() ?? []) track.stop();
    if (this.context && this.context.state !== "closed") this.context.close();
  }
}

async function microphone() {
  if (!navigator.mediaDevices) throw new Error("Browsers give the microphone only to pages at localhost or behind https.");
  // The browser's own processing would hide what the model does.
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The microphone was refused. Allow it for this page in the browser's address bar, then start again.",
      NotFoundError: "No microphone was found. Connect one, then start again.",
      NotReadableError: "The microphone is in use by another program.",
    };
    throw new Error(reasons[error.name] ?? `The microphone does not open: ${error.message}`);
  }
}
