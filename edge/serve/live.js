// Microphone in, enhanced out.
import { createAligner, rateOf } from "./web/track.js";

export class Live {
  // `options`: {microphone, speaker: device ids, share: of the enhanced signal, volume, band, onlevels, onend}.
  // `onlevels({levels, latency, model, dropped})` comes some 20 times a second, `onend(reason)` where it was not asked for.
  static async start(engine, options) {
    const live = new Live(options);
    try {
      await live.open(engine, options);
    } catch (error) {
      live.stop();
      throw error;
    }
    return live;
  }

  constructor({ onlevels, onend }) {
    this.onlevels = onlevels;
    this.onend = onend;
  }

  async open(engine, { microphone, speaker, share, volume, band, modelRate }) {
    this.microphone = await openMicrophone(microphone);
    this.context = new AudioContext({ ...rateOf(band, modelRate), latencyHint: "interactive" });
    let source;
    try {
      source = this.context.createMediaStreamSource(this.microphone);
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      // Firefox takes no microphone into a context of another rate: the other end converts then.
      await this.context.close();
      this.context = new AudioContext({ latencyHint: "interactive" });
      source = this.context.createMediaStreamSource(this.microphone);
    }
    await this.setSpeaker(speaker);
    const rate = this.context.sampleRate;
    this.stream = await engine.openLive(rate, band, (reason) => this.end(reason));
    this.node = await createAligner(this.context, { ...this.stream, spare: engine.spare });
    this.node.port.onmessage = ({ data }) => (data.failed ? this.end(data.failed) : this.report(data));
    this.gain = new GainNode(this.context, { gain: volume });
    this.setShare(share);
    source.connect(this.node).connect(this.gain).connect(this.context.destination);
    const [track] = this.microphone.getAudioTracks();
    track.onended = () => this.end("the microphone is gone");
    await this.context.resume();
  }

  get sampleRate() { return this.context.sampleRate; }
  setShare(share) { this.node.port.postMessage({ mode: share }); }
  setVolume(volume) { this.gain.gain.setTargetAtTime(volume, this.context.currentTime, 0.01); }
  async setSpeaker(id) { if (id && this.context.setSinkId) await this.context.setSinkId(id); }

  report({ levels, late, delay }) {
    if (this.stopped) return;
    const { baseLatency = 0, outputLatency = 0, sampleRate } = this.context;
    this.onlevels({
      levels,
      latency: delay / sampleRate + Math.max(baseLatency, outputLatency),
      model: this.stream.latency / sampleRate,
      dropped: Math.ceil(late / this.stream.chunk),
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

async function openMicrophone(id) {
  if (!navigator.mediaDevices) throw new Error("Browsers give the microphone only to pages at localhost or behind https.");
  // The browser's own processing would hide what the model does.
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  if (id) audio.deviceId = { exact: id };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The microphone was refused. Allow it for this page in the browser's address bar, then start again.",
      NotFoundError: "No microphone was found. Connect one, then start again.",
      OverconstrainedError: "That microphone is no longer there. Choose another, then start again.",
      NotReadableError: "The microphone is in use by another program.",
    };
    throw new Error(reasons[error.name] ?? `The microphone does not open: ${error.message}`);
  }
}

// Fill two <select>s with the devices that the browser tells; names come with the first permission.
export async function listDevices(inputs, outputs) {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const selectable = "setSinkId" in AudioContext.prototype;
  for (const [select, kind] of [[inputs, "audioinput"], [outputs, "audiooutput"]]) {
    const found = devices.filter((device) => device.kind === kind && device.deviceId && device.deviceId !== "default");
    const chosen = select.value;
    select.replaceChildren(new Option("System default", ""), ...found.map((d, i) => new Option(d.label || `Device ${i + 1}`, d.deviceId)));
    select.value = found.some((device) => device.deviceId === chosen) ? chosen : "";
    select.closest("label").hidden = !found.length || (kind === "audiooutput" && !selectable);
  }
}
