// Files of a zip archive: stored or deflated, not encrypted, below 4 GiB.

const END = 0x06054b50;
const ENTRY = 0x02014b50;

// Name -> function that gives its bytes, a promise of Uint8Array. Throws where `bytes` is no archive.
export function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw new Error("it is no zip archive, or it is cut off");
  const files = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== ENTRY) throw new Error("its directory is damaged");
    const [name, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const method = view.getUint16(at + 10, true);
    const size = view.getUint32(at + 20, true);
    const header = view.getUint32(at + 42, true);
    const path = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name));
    files.set(path, () => extract(bytes, view, header, size, method));
    at += 46 + name + extra + comment;
  }
  return files;
}

async function extract(bytes, view, header, size, method) {
  if (header + 30 > bytes.length) throw new Error("it is cut off");
  const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
  const packed = bytes.subarray(start, start + size);
  if (packed.length !== size) throw new Error("it is cut off");
  if (method === 0) return packed;
  if (method !== 8) throw new Error(`it is packed by method ${method}, which is not read`);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
