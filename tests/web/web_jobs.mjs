// node web_jobs.mjs JOBS.json: runs a list of jobs on the browser's modules; samples come and go as raw float32 files.
import { readFile, writeFile } from "node:fs/promises";
import { createEnhancer, createSeparator } from "../../edge/web/index.js";
import { statistics } from "../../edge/web/separator.js";

const { runtime, jobs } = JSON.parse(await readFile(process.argv[2]));

async function floats(file) {
  const bytes = await readFile(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

const put = (file, samples) => writeFile(file, new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));

const kinds = {
  async stream({ bundle, sampleRate, band, input, output, sizes, limit = null }) {
    const enhancer = await createEnhancer(bundle, { runtime, sampleRate, band });
    await enhancer.setAttenuation(limit);
    const samples = await floats(input);
    await enhancer.process(samples.subarray(0, 5000));
    await enhancer.reset();
    const pieces = [];
    let late = 0;
    let given = 0;
    for (let at = 0, n = 0; at < samples.length; at += sizes[n++ % sizes.length]) {
      const block = samples.slice(at, at + sizes[n % sizes.length]);
      pieces.push(await enhancer.process(block));
      given += pieces.at(-1).length;
      late = Math.max(late, at + block.length - given);
    }
    pieces.push(await enhancer.flush());
    await put(output, Float32Array.from(pieces.flatMap((piece) => Array.from(piece))));
    enhancer.close();
    return { late, latencySamples: enhancer.latencySamples };
  },
  async enhance({ bundle, sampleRate, inputs, outputs }) {
    const enhancer = await createEnhancer(bundle, { runtime });
    const done = [];
    const channels = await Promise.all(inputs.map(floats));
    const enhanced = await enhancer.enhance(channels, { sampleRate, onprogress: (fraction) => done.push(fraction) });
    await Promise.all(enhanced.map((channel, c) => put(outputs[c], channel)));
    enhancer.close();
    return { done };
  },
  async separate({ bundle, sampleRate, inputs, output }) {
    const separator = await createSeparator(bundle, { runtime });
    const done = [];
    const channels = await Promise.all(inputs.map(floats));
    const stems = await separator.separate(channels, { sampleRate, onprogress: (fraction) => done.push(fraction) });
    for (const [source, stem] of Object.entries(stems))
      for (const [c, channel] of stem.entries()) await put(`${output}-${source}-${c}.f32`, channel);
    separator.close();
    return { done, sources: Object.keys(stems) };
  },
  async cancel({ bundle, inputs }) {
    const separator = await createSeparator(bundle, { runtime });
    const job = new AbortController();
    const channels = await Promise.all(inputs.map(floats));
    await separator.separate(channels, { signal: job.signal, onprogress: () => job.abort(new Error("enough")) });
  },
  async statistics({ inputs }) {
    return statistics(await Promise.all(inputs.map(floats)));
  },
  async load({ bundle, task }) {
    await (task === "enhance" ? createEnhancer : createSeparator)(bundle, { runtime });
  },
};

const results = [];
for (const { kind, ...job } of jobs)
  try {
    results.push((await kinds[kind](job)) ?? {});
  } catch (error) {
    results.push({ error: `${error.name}: ${error.message}` });
  }
console.log(JSON.stringify(results));
