// A bundle by URL: a folder, or the same in one file NAME.edge. What is read of it is checked first.
import { readZip } from "./zip.js";

export const FORMAT_MAJOR = "1";
const LAYOUTS = { enhance: ["audio", "enhanced"], separate: ["mix", "stems"] };

// What is wrong with a bundle, an input or the runtime, in one line.
export class EdgeError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "EdgeError";
  }
}

// {where, manifest, read(file)}; `read` gives the bytes of a listed file, its size and SHA-256 checked.
export async function openBundle(where) {
  const url = String(where).replace(/\/(manifest\.json)?$/, "");
  const find = /\.edge([?#]|$)/.test(url) ? await zipped(url) : (name) => fetchBytes(`${url}/${name}`);
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(await find("manifest.json")));
  } catch (error) {
    if (error instanceof SyntaxError) throw new EdgeError(`${url}: manifest.json is not JSON`, { cause: error });
    throw error;
  }
  checkManifest(manifest, url);
  const read = async (name) => {
    const bytes = await find(name);
    await checkFile(url, name, manifest.files?.[name], bytes);
    return bytes;
  };
  return { where: url, manifest, read };
}

// Little-endian float32 of a bundle's file.
export async function readFloats(bundle, name) {
  const bytes = await bundle.read(name);
  return new Float32Array(bytes.slice().buffer);
}

export const inNode = Boolean(globalThis.process?.versions?.node);

export const product = (shape) => shape.reduce((a, b) => a * b, 1);

async function zipped(url) {
  const bytes = await fetchBytes(url);
  let files;
  try {
    files = readZip(bytes);
  } catch (error) {
    throw new EdgeError(`${url}: ${error.message}; copy it again`, { cause: error });
  }
  return (name) => {
    const file = files.get(name);
    if (!file) throw new EdgeError(`${url}: ${name} is missing from the bundle; export or copy it again`);
    return file();
  };
}

export async function fetchBytes(url) {
  if (inNode && !/^(https?|blob|data):/.test(url)) {
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises");
    try {
      return new Uint8Array(await readFile(url.startsWith("file:") ? new URL(url) : url));
    } catch (error) {
      throw new EdgeError(`${url}: cannot be read (${error.code ?? error.message})`, { cause: error });
    }
  }
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new EdgeError(`${url}: cannot be fetched: is the address right, and the network there?`, { cause: error });
  }
  if (!response.ok) throw new EdgeError(`${url}: cannot be fetched: the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function checkFile(where, name, record, bytes) {
  if (!record) throw new EdgeError(`${where}: the manifest does not list ${name}`);
  if (bytes.length !== record.bytes)
    throw new EdgeError(`${where}: ${name} has not the ${record.bytes} bytes that the manifest lists; copy it again`);
  // Browsers hash on secure pages only; elsewhere the size and the golden check must do.
  if (!globalThis.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  if (Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") !== record.sha256)
    throw new EdgeError(`${where}: ${name} is damaged (its SHA-256 differs from the manifest); copy it again`);
}

function checkManifest(manifest, where) {
  const need = (condition, message) => {
    if (!condition) throw new EdgeError(`${where}: malformed manifest.json: ${message}`);
  };
  const version = String(manifest?.format_version);
  if (version.split(".")[0] !== FORMAT_MAJOR)
    throw new EdgeError(`${where}: bundle format version ${version} is not supported, this package reads ${FORMAT_MAJOR}.x`);
  const layout = LAYOUTS[manifest.task];
  need(layout, `task is ${JSON.stringify(manifest.task)}`);
  for (const key of ["sample_rate", "channels", "hop"]) need(manifest[key] > 0, `${key} must be positive`);
  for (const key of ["inputs", "outputs", "sources"]) need(manifest[key]?.length > 0, `${key} is empty`);
  const states = manifest.states ?? [];
  const names = (specs) => specs.map(({ name, shape }) => `${name} ${shape}`).join();
  need(manifest.inputs[0].name === layout[0] && manifest.outputs[0].name === layout[1], "the audio is named otherwise");
  need(names(manifest.inputs.slice(1)) === names(states), "inputs and states differ");
  need(
    names(manifest.outputs.slice(1)) === names(states.map((state) => ({ ...state, name: `next_${state.name}` }))),
    "outputs and states differ",
  );
  if (manifest.task === "separate") need(manifest.segment >= manifest.hop, "segment is shorter than hop");
  if (!manifest.graphs?.onnx) throw new EdgeError(`${where}: the bundle has no onnx graph; export it with --format onnx`);
  need(manifest.golden?.outputs?.onnx && manifest.golden.input, "it has no golden output");
}
