// Speech enhancement and music separation in a browser or in Node, on the processor of this machine.
import { EdgeError } from "./bundle.js";
import { Host } from "./host.js";

export { EdgeError };
export { EnhancedTrack, createTrackProcessor } from "./track.js";

// `bundle`: URL (in Node also a path) of an enhancer's bundle. Options: `sampleRate` of the stream (default: the
// model's), `band`: "full" (the default) or "model", without what lies above the model's, `runtime`: URL of onnxruntime-web's ort.wasm.bundle.min.mjs where no bundler resolves the package.
export async function createEnhancer(bundle, options = {}) {
  const model = await Model.load(bundle, "enhance", options);
  try {
    return await Enhancer.open(model, options);
  } catch (error) {
    model.close();
    throw error;
  }
}

export async function createSeparator(bundle, options = {}) {
  return new Separator(await Model.load(bundle, "separate", options));
}

// A loaded bundle: in a worker where there are workers, so that nothing here ever waits for it.
class Model {
  static async load(bundle, task, { runtime }) {
    const model = new Model();
    const base = globalThis.document?.baseURI ?? globalThis.location?.href;
    const absolute = (url) => (url === undefined || !base ? url : new URL(url, base).href);
    try {
      model.manifest = await model.call("load", { bundle: absolute(String(bundle)), runtime: absolute(runtime), task });
    } catch (error) {
      model.close();
      throw error;
    }
    return model;
  }

  constructor() {
    this.calls = new Map();
    this.count = 0;
    if (typeof Worker === "undefined") {
      this.host = new Host();
      return;
    }
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = (event) => {
      const error = new EdgeError(`the worker does not start or failed: ${event.message ?? "its script cannot be loaded"}`);
      for (const { reject } of this.calls.values()) reject(error);
      this.calls.clear();
    };
  }

  call(method, argument, { onprogress, transfer = [] } = {}) {
    if (this.host) return this.callHere(method, argument, onprogress);
    if (!this.worker) return Promise.reject(new EdgeError("it is closed"));
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject, onprogress });
      this.worker.postMessage({ id, method, argument }, transfer);
    });
  }

  async callHere(method, argument, onprogress) { return this.host[method](argument, onprogress); }

  answer({ id, result, error, progress }) {
    const call = this.calls.get(id);
    if (!call) return;
    if (progress !== undefined) return call.onprogress?.(progress);
    this.calls.delete(id);
    if (error === undefined) call.resolve(result);
    else call.reject(new EdgeError(error));
  }

  // A whole recording; `signal` (AbortSignal) ends it.
  async recording(method, channels, { signal, onprogress, ...argument }) {
    const job = ++this.count;
    const stop = () => this.call("cancel", { job });
    signal?.throwIfAborted();
    signal?.addEventListener("abort", stop);
    try {
      return await this.call(method, { ...argument, channels, job }, { onprogress });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  close() {
    this.worker?.terminate();
    for (const { reject } of this.calls.values()) reject(new EdgeError("it was closed"));
    this.calls.clear();
    this.host?.graph?.release();
    this.host = this.worker = null;
  }
}

// One mono stream: what `process` and `flush` give, concatenated, is as long as the input and aligned with it.
export class Enhancer {
  static async open(model, { sampleRate, band }, owner = true) {
    const { stream, latencySamples } = await model.call("open", { sampleRate, band });
    return Object.assign(new Enhancer(), {
      model, stream, latencySamples, owner,
      manifest: model.manifest,
      sampleRate: sampleRate ?? model.manifest.sample_rate,
    });
  }

  // Float32Array of any length to the enhanced samples that are ready.
  process(samples) { return this.model.call("process", { stream: this.stream, samples }); }
  // The rest; the next samples begin a new recording.
  flush() { return this.model.call("flush", { stream: this.stream }); }
  // Forget all input.
  reset() { return this.model.call("reset", { stream: this.stream }); }
  // Nothing is made quieter by more than `limit` dB; null: no bound.
  setAttenuation(limit) { return this.model.call("setAttenuation", { stream: this.stream, limit }); }
  // Another stream on the same model, of a `sampleRate` and `band` of its own.
  fork(options = {}) { return Enhancer.open(this.model, options, false); }
  // A whole recording, one Float32Array for each channel. Options: sampleRate, band, limit (dB), onprogress, signal.
  enhance(channels, options = {}) { return this.model.recording("enhance", channels, options); }

  // Let the worker serve a MessagePort: {samples} in, {enhanced} out, without the page's own thread.
  attach(port) { return this.model.call("attach", { stream: this.stream }, { transfer: [port] }); }

  close() {
    if (this.owner) this.model.close();
    else this.model.call("close", { stream: this.stream }).catch(() => {});
  }
}

export class Separator {
  constructor(model) {
    this.model = model;
    this.manifest = model.manifest;
    this.sources = model.manifest.sources;
  }

  // A whole recording, one Float32Array for each channel, to {source: [Float32Array for each channel]}.
  // Options: sampleRate (default: the model's), onprogress(fraction), signal.
  separate(channels, options = {}) { return this.model.recording("separate", channels, options); }

  close() { this.model.close(); }
}
