// A MediaStreamTrack in, the enhanced one out; the samples go between an AudioWorklet and the model's worker, and never
// through the page's own thread.
import { EdgeError } from "./bundle.js";

const SPARE = 0.02; // seconds that the way to the worker and back may take before samples are late

// The node that plays a track and what was made of it; see worklet.js. `latency` is how many samples of the context's
// rate the other end of `port` may lag, `chunk` how many it gets at a time. `port` may be given later, through
// `node.port.postMessage({}, [port])`.
export async function createAligner(context, { chunk, latency, spare = SPARE, port }) {
  await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "aligner", {
    channelCount: 1,
    channelCountMode: "explicit",
    outputChannelCount: [1],
    processorOptions: { chunk, delay: latency + chunk + Math.round(spare * context.sampleRate) },
  });
  if (port) node.port.postMessage({}, [port]);
  return node;
}

// Share of the enhanced signal in the sum that makes nothing quieter by more than `limit` dB; null: no bound.
export const share = (limit) => (limit === null ? 1 : 1 - 10 ** (-limit / 20));

// An AudioContext's rate: in full band that of the device.
export const rateOf = (band, modelRate) => (band === "full" ? {} : { sampleRate: modelRate });

export class EnhancedTrack {
  // `enhancer`: of createEnhancer, which stays the caller's. Options: `band` ("full", the default, or "model"),
  // `context` (AudioContext; default: one of the device's rate, or of the model's with band "model"), `limit` (dB, see setAttenuation), `onlevels({levels, late, latency})` some 20 times a second,
  // `onend(reason)` where the track ends or the model fails.
  static async create(enhancer, track, options = {}) {
    const enhanced = new EnhancedTrack(track, options);
    try {
      await enhanced.open(enhancer, options);
    } catch (error) {
      enhanced.stop();
      throw error;
    }
    return enhanced;
  }

  constructor(source, { onlevels, onend }) {
    Object.assign(this, { source, onlevels, onend });
    this.late = 0; // samples that were heard as they came
    this.limit = null;
    this.enabled = true;
  }

  async open(enhancer, { context, band = "full", limit = null }) {
    const stream = new MediaStream([this.source]);
    const { sample_rate: modelRate, hop } = enhancer.manifest;
    let input;
    this.context = context ?? new AudioContext({ ...rateOf(band, modelRate), latencyHint: "interactive" });
    this.owned = !context;
    try {
      input = this.context.createMediaStreamSource(stream);
    } catch (error) {
      if (context || error.name !== "NotSupportedError") throw error;
      // Firefox takes no track into a context of another rate: the worker converts then.
      await this.context.close();
      this.context = new AudioContext({ latencyHint: "interactive" });
      input = this.context.createMediaStreamSource(stream);
    }
    const { sampleRate } = this.context;
    this.stream = await enhancer.fork({ sampleRate, band });
    const { port1, port2 } = new MessageChannel();
    await this.stream.attach(port1);
    this.chunk = Math.round((hop * sampleRate) / modelRate);
    this.node = await createAligner(this.context, { chunk: this.chunk, latency: this.stream.latencySamples, port: port2 });
    this.node.port.onmessage = ({ data }) => this.report(data);
    this.node.onprocessorerror = () => this.end("the audio worklet failed");
    this.input = input;
    input.connect(this.node);
    this.destination = this.context.createMediaStreamDestination();
    this.node.connect(this.destination);
    [this.track] = this.destination.stream.getAudioTracks();
    this.source.addEventListener("ended", this.ended = () => this.end("the track has ended"));
    this.setAttenuation(limit);
    if (this.owned) await this.context.resume();
  }

  // Nothing is made quieter by more than `limit` dB; null: no bound.
  setAttenuation(limit) {
    if (limit !== null && !(limit >= 0)) throw new EdgeError(`an attenuation limit of ${limit} dB is not positive`);
    this.limit = limit;
    this.mix();
  }

  // false: the original is heard, as late as the enhanced signal.
  setEnabled(enabled) {
    this.enabled = enabled;
    this.mix();
  }

  mix() { this.node.port.postMessage({ mode: this.enabled ? share(this.limit) : 0 }); }

  report({ levels, late, delay, failed }) {
    if (this.stopped) return;
    if (failed) return this.end(failed);
    this.late = late;
    this.latency = delay / this.context.sampleRate; // seconds, without the device
    this.onlevels?.({ levels, late, latency: this.latency });
  }

  end(reason) {
    if (this.stopped) return;
    this.stop();
    this.onend?.(reason);
  }

  // The source track goes on, for whoever gave it.
  stop() {
    this.stopped = true;
    this.source.removeEventListener("ended", this.ended);
    this.node?.port.postMessage({ stop: true });
    this.input?.disconnect();
    this.node?.disconnect();
    this.track?.stop();
    this.stream?.close();
    if (this.owned && this.context.state !== "closed") this.context.close();
  }
}

// LiveKit's TrackProcessor over an enhancer: `await microphone.setProcessor(createTrackProcessor(enhancer))`.
export function createTrackProcessor(enhancer, options = {}) {
  let enhanced = null;
  const processor = {
    name: "stem-edge",
    processedTrack: undefined,
    async init({ track, audioContext }) {
      await processor.destroy();
      enhanced = await EnhancedTrack.create(enhancer, track, { context: audioContext, ...options });
      processor.processedTrack = enhanced.track;
    },
    restart: (given) => processor.init(given),
    async destroy() {
      enhanced?.stop();
      enhanced = null;
      processor.processedTrack = undefined;
    },
    setAttenuation(limit) {
      options = { ...options, limit };
      enhanced?.setAttenuation(limit);
    },
    setEnabled: (enabled) => enhanced?.setEnabled(enabled),
  };
  return processor;
}
