// Where audio is computed: in this browser, or on the server that gave the page.
import { createEnhancer, createSeparator } from "./web/index.js";
import { enhanceThere, openThere } from "./stream.js";

// What this page can do, {enhance, separate}, null where it cannot; `site` is models.json: {runtime, models: [{task,
// name, url}], server}. `told(text)` hears what is loading, `failed(error)` what does not.
export async function openEngines(site, told, failed) {
  const engines = { enhance: null, separate: null };
  for (const model of site.models) {
    const there = model.task === "enhance" && site.server ? new There() : null;
    engines[model.task] = there;
    if (!site.runtime || !canCompute()) continue;
    told(`loading ${model.name}`);
    try {
      engines[model.task] = await openHere(model, site.runtime);
    } catch (error) {
      if (there) console.warn(`the server computes: ${error.message}`);
      else failed(error);
    }
  }
  return engines;
}

async function openHere({ task, url }, runtime) {
  if (task === "separate") return createSeparator(url, { runtime });
  return new Here(await createEnhancer(url, { runtime }));
}

// Pages from other machines without https have neither audio worklets nor hashes.
const canCompute = () => isSecureContext && typeof WebAssembly === "object" && typeof Worker === "function";

// On this computer.
class Here {
  constructor(model) {
    this.local = true;
    this.model = model;
    this.modelRate = model.manifest.sample_rate;
    this.spare = 0.02;
  }

  // One end of a live stream at `rate`: {port, latency, chunk, close}. `band` as in Session.
  async openLive(rate, band) {
    const stream = await this.model.fork({ sampleRate: rate, band });
    const { port1, port2 } = new MessageChannel();
    await stream.attach(port1);
    const chunk = Math.round((this.model.manifest.hop * rate) / this.modelRate);
    return { port: port2, latency: stream.latencySamples, chunk, close: () => stream.close() };
  }

  enhance(channels, rate, band, onprogress) {
    return this.model.enhance(channels, { sampleRate: rate, band, onprogress });
  }
}

// On the server, over its WebSocket.
class There {
  constructor() {
    this.local = false;
    this.spare = 0.06; // seconds that the way to the server and back may take before samples are late
  }

  openLive(rate, band, onend) { return openThere(rate, band, onend); }

  async enhance(channels, rate, band, onprogress) {
    const out = [];
    for (const channel of channels)
      out.push(await enhanceThere(channel, rate, band, (done) => onprogress((out.length + done) / channels.length)));
    return out;
  }
}
