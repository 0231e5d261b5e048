// The WebSocket of edge-serve: float32 samples one way and the other.

export async function health() {
  const response = await fetch("health");
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

export class Stream {
  // Connects and says hello. `onaudio(samples)` gets the enhanced samples, `onclosed(reason)` the end that was not asked for.
  static async open(sampleRate, onaudio, onclosed) {
    const stream = new Stream(onaudio, onclosed);
    await stream.connect(sampleRate);
    return stream;
  }

  constructor(onaudio, onclosed) {
    this.onaudio = onaudio;
    this.onclosed = onclosed;
    this.reason = "";
    this.flushed = null;
  }

  connect(sampleRate) {
    const url = new URL("stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => this.tell({ type: "hello", protocol: 1, sample_rate: sampleRate, format: "f32le" });
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
