// A bundle's graph in ONNX Runtime Web, on one WebAssembly thread: names, shapes and states as the manifest has them.
import { EdgeError, fetchBytes, inNode, product, readFloats } from "./bundle.js";

const ARRAYS = {
  float32: Float32Array, float16: Uint16Array, int64: BigInt64Array, int32: Int32Array, int8: Int8Array,
  uint8: Uint8Array, bool: Uint8Array,
};

let loading = null; // the runtime, loaded once

// `runtime`: URL of ort.wasm.bundle.min.mjs, beside which its .wasm lies; by default the package onnxruntime-web.
export function loadRuntime(runtime) {
  loading ??= importRuntime(runtime).catch((error) => {
    loading = null;
    throw new EdgeError(`onnxruntime-web does not load: ${error.message}`, { cause: error });
  });
  return loading;
}

async function importRuntime(runtime) {
  let ort;
  if (runtime) ort = await import(/* webpackIgnore: true */ /* @vite-ignore */ runtime);
  else if (inNode) ort = await import(/* webpackIgnore: true */ /* @vite-ignore */ "onnxruntime-web");
  else ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = 1; // more would need a page that is isolated from all others
  ort.env.wasm.proxy = false;
  ort.env.logLevel = "error";
  const wasm = runtime && new URL("ort-wasm-simd-threaded.wasm", runtime).href;
  if (wasm && inNode) ort.env.wasm.wasmBinary = await fetchBytes(wasm);
  else if (wasm) ort.env.wasm.wasmPaths = { wasm };
  return ort;
}

export class Graph {
  static async load(bundle, runtime) {
    const [ort, bytes] = await Promise.all([loadRuntime(runtime), bundle.read(bundle.manifest.graphs.onnx.file)]);
    try {
      const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
      return new Graph(ort, session, bundle.manifest);
    } catch (error) {
      throw new EdgeError(`${bundle.where}: the graph does not load: ${error.message}`, { cause: error });
    }
  }

  constructor(ort, session, manifest) {
    Object.assign(this, { ort, session, manifest });
    this.last = Promise.resolve();
  }

  // Outputs of one run; runs of several streams follow one another.
  run(feeds) {
    const next = this.last.then(() => this.session.run(feeds));
    this.last = next.catch(() => {});
    return next;
  }

  release() { return this.session.release(); }
}

// One stream's tensors: `input` to be filled, `run`, then `output`; the states go round.
export class Binding {
  constructor(graph) {
    this.graph = graph;
    const { inputs, outputs, states = [] } = graph.manifest;
    this.states = states;
    this.output = null;
    this.input = new Float32Array(product(inputs[0].shape));
    this.audio = inputs[0];
    this.result = outputs[0].name;
    this.reset();
  }

  reset() {
    const { Tensor } = this.graph.ort;
    this.feeds = { [this.audio.name]: new Tensor("float32", this.input, this.audio.shape) };
    for (const { name, shape, dtype } of this.states)
      this.feeds[name] = new Tensor(dtype, new ARRAYS[dtype](product(shape)), shape);
  }

  async run() {
    const results = await this.graph.run(this.feeds);
    for (const { name } of this.states) this.feeds[name] = results[`next_${name}`];
    this.output = results[this.result].data;
  }
}

// Run the bundle's golden input, and refuse a graph that does not give what the manifest says it must.
export async function checkGolden(bundle, graph) {
  const { golden, task, hop, channels, segment } = bundle.manifest;
  const expected = golden.outputs.onnx;
  const [input, reference] = await Promise.all([readFloats(bundle, golden.input.file), readFloats(bundle, expected.file)]);
  const binding = new Binding(graph);
  const found = [];
  if (task === "enhance") {
    const all = new Float32Array(input.length);
    for (let at = 0; at + hop <= input.length; at += hop) {
      binding.input.set(input.subarray(at, at + hop));
      await binding.run();
      all.set(binding.output, at);
    }
    for (let i = 0; i < all.length; i += golden.stride) found.push(all[i]);
  } else {
    const length = input.length / channels;
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < segment; i++) binding.input[c * segment + i] = input[c * length + (i % length)];
    await binding.run();
    for (let row = 0; row < binding.output.length; row += segment)
      for (let i = 0; i < segment; i += golden.stride) found.push(binding.output[row + i]);
  }
  const reached = snr(reference, found);
  if (!(reached >= expected.min_snr_db))
    throw new EdgeError(
      `${bundle.where}: the golden check fails: ${reached.toFixed(1)} dB, it must reach ${expected.min_snr_db.toFixed(1)} dB`,
    );
}

// Signal-to-noise ratio in dB over all values; NaN where the lengths differ.
export function snr(reference, estimate) {
  if (reference.length !== estimate.length) return NaN;
  let signal = 0;
  let error = 0;
  for (let i = 0; i < reference.length; i++) {
    signal += reference[i] ** 2;
    error += (reference[i] - estimate[i]) ** 2;
  }
  return error === 0 ? 200 : Math.min(200, 10 * Math.log10(Math.max(signal, 1e-30) / error));
}
