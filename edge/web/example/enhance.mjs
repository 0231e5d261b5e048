// node example/enhance.mjs BUNDLE noisy.wav clean.wav: a 16-bit or float WAV of any rate and channels.
import { readFile, writeFile } from "node:fs/promises";
import { createEnhancer } from "stem-edge";
import { readWav, writeWav } from "stem-edge/wav.js";

const [bundle, input, output] = process.argv.slice(2);
if (!output) {
  console.error("usage: node enhance.mjs BUNDLE INPUT.wav OUTPUT.wav");
  process.exit(2);
}
try {
  const { channels, sampleRate } = readWav(await readFile(input));
  const enhancer = await createEnhancer(bundle);
  const started = performance.now();
  const enhanced = await enhancer.enhance(channels, { sampleRate });
  await writeFile(output, writeWav(enhanced, sampleRate));
  const seconds = channels[0].length / sampleRate;
  const took = (performance.now() - started) / 1000;
  console.log(`${output}: ${seconds.toFixed(1)} s in ${took.toFixed(1)} s (${enhancer.manifest.name})`);
  enhancer.close();
} catch (error) {
  console.error(`enhance: ${error.message}`);
  process.exit(1);
}
