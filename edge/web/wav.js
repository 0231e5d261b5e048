// WAV files: 16-, 24- and 32-bit integers and 32-bit float in, 32-bit float out.

// {channels: [Float32Array], sampleRate} of a file's bytes (Uint8Array).
export function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || word(0) !== "RIFF" || word(8) !== "WAVE") throw new Error("not a WAV file");
  let form = null;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (word(at) === "fmt ") form = readForm(view, at + 8, size);
    if (word(at) === "data") {
      if (!form) break;
      return { channels: readSamples(view, at + 8, Math.min(size, bytes.length - at - 8), form), sampleRate: form.rate };
    }
    at += 8 + size + (size % 2);
  }
  throw new Error("the WAV file has no samples");
}

function readForm(view, at, size) {
  const tag = view.getUint16(at, true);
  return {
    format: tag === 0xfffe && size >= 26 ? view.getUint16(at + 24, true) : tag,
    count: view.getUint16(at + 2, true),
    rate: view.getUint32(at + 4, true),
    bits: view.getUint16(at + 14, true),
  };
}

function readSamples(view, start, size, { format, count, bits }) {
  const readers = {
    "1 16": (at) => view.getInt16(at, true) / 2 ** 15,
    "1 24": (at) => (view.getInt8(at + 2) * 65536 + view.getUint16(at, true)) / 2 ** 23,
    "1 32": (at) => view.getInt32(at, true) / 2 ** 31,
    "3 32": (at) => view.getFloat32(at, true),
  };
  const read = readers[`${format} ${bits}`];
  if (!read || !count) throw new Error(`a WAV file of format ${format} with ${bits} bits is not read`);
  const width = bits / 8;
  const frames = Math.floor(size / (width * count));
  return Array.from({ length: count }, (_, c) =>
    Float32Array.from({ length: frames }, (_, i) => read(start + (i * count + c) * width)),
  );
}

// The bytes of a float32 WAV file.
export function writeWav(channels, sampleRate) {
  const head = wavHead(channels.length, channels[0].length, sampleRate);
  const samples = interleaved(channels, 0, channels[0].length);
  const file = new Uint8Array(head.length + samples.byteLength);
  file.set(head);
  file.set(new Uint8Array(samples.buffer), head.length);
  return file;
}

export function interleaved(channels, start, end) {
  const count = channels.length;
  const samples = new Float32Array((end - start) * count);
  channels.forEach((channel, c) => {
    for (let i = start; i < end; i++) samples[(i - start) * count + c] = channel[i];
  });
  return samples;
}

// What precedes the samples of a float32 WAV file.
export function wavHead(count, frames, sampleRate) {
  const bytes = frames * count * 4;
  const view = new DataView(new ArrayBuffer(58));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 50 + bytes, true); text(8, "WAVE");
  text(12, "fmt "); view.setUint32(16, 18, true);
  view.setUint16(20, 3, true); view.setUint16(22, count, true);
  view.setUint32(24, sampleRate, true); view.setUint32(28, sampleRate * 4 * count, true);
  view.setUint16(32, 4 * count, true); view.setUint16(34, 32, true);
  text(38, "fact"); view.setUint32(42, 4, true); view.setUint32(46, frames, true);
  text(50, "data"); view.setUint32(54, bytes, true);
  return new Uint8Array(view.buffer);
}
