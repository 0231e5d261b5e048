// The WebSocket of edge-serve: float32 samples one way and the other.

const BACKLOG = 1; // seconds of live audio that may wait to be sent before frames are dropped
const AHEAD = 4; // seconds of a recording that may be on their way at a time
const CHUNK = 0.1; // seconds

export async function health() {
  const response = await fetch("health");
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

// One end of a live stream; see engine.js. `onend(reason)` comes where the server goes away.
export async function openThere(rate, band, onend) {
  const { port1, port2 } = new MessageChannel();
  const stream = await Stream.open(rate, band, (enhanced) => port1.postMessage({ enhanced }, [enhanced.buffer]), onend);
  port1.onmessage = ({ data: { samples, at } }) => {
    if (stream.left) return;
    if (stream.unsent > BACKLOG * rate) port1.postMessage({ gap: [at, samples.length] });
    else stream.send(samples);
  };
  const { hop, model_sample_rate: modelRate, latency_samples: latency } = stream.ready;
  return { port: port2, latency, chunk: Math.round((hop * rate) / modelRate), close: () => stream.close() };
}

// One channel of a recording at `rate` Hz, enhanced; `onprogress(fraction)`.
export async function enhanceThere(samples, rate, band, onprogress) {
  const out = new Float32Array(samples.length);
  let received = 0;
  let wake = () => {};
  let lost = null;
  const stream = await Stream.open(
    rate,
    band,
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

class Stream {
  // Connects and says hello. `onaudio(samples)` gets the enhanced samples, `onclosed(reason)` the end that was not asked for.
  static async open(sampleRate, band, onaudio, onclosed) {
    const stream = new Stream(onaudio, onclosed);
    await stream.connect({ sample_rate: sampleRate, band });
    return stream;
  }

  constructor(onaudio, onclosed) {
    this.onaudio = onaudio;
    this.onclosed = onclosed;
    this.reason = "";
    this.flushed = null;
  }

  connect(wanted) {
    const url = new URL("stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => this.tell({ type: "hello", protocol: 1, format: "f32le", ...wanted });
      this.socket.onmessage = ({ data }) => {
        if (typeof data !== "string") return this.onaudio(new Float32Array(data));
        const event = JSON.parse(data);
        if (event.type === "ready") resolve((this.ready = event));
        else if (event.type === "flushed") this.flushed?.resolve(event);
        else if (event.type === "error") this.reason = event.message;
      };
      this.socket.onclose = (event) => {
        const reason = this.reason || event.reason || (this.ready ? "the connection was lost" : "the server did not accept the connection; it may be full");
        const error = new Error(reason);
        reject(error);
        this.flushed?.reject(error);
        if (this.ready && !this.left) this.onclosed(reason);
      };
    });
  }

  tell(event) { this.socket.send(JSON.stringify(event)); }
  send(samples) { this.socket.send(samples); }
  get unsent() { return this.socket.bufferedAmount / 4; } // samples

  // Resolves when everything that was sent has come back.
  flush() {
    return new Promise((resolve, reject) => {
      this.flushed = { resolve, reject };
      this.tell({ type: "flush" });
    });
  }

  close() {
    this.left = true;
    this.socket.close();
  }
}
