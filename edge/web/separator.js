// A recording through a separator's graph: overlapping segments, weighted by a triangle, as `demucs` applies its models.
import { Binding } from "./graph.js";

const SILENCE = 1e-4; // RMS, -80 dBFS
const MONO_SHARE = 0.3; // of the deviation of all channels that the mono mix keeps in nearly all music

// `mix`: a Float32Array for each channel, at the model's rate; `onsegment(fraction)` may return a promise to wait for.
// Gives a list of stems, each a Float32Array for each channel.
export async function separate(graph, mix, onsegment) {
  const { segment, hop, channels, sources } = graph.manifest;
  const length = mix[0].length;
  const { mean, std } = statistics(mix);
  const scale = std + 1e-8;
  const binding = new Binding(graph);
  const stems = sources.map(() => mix.map(() => new Float32Array(length)));
  const weights = new Float32Array(length);
  const half = Math.floor(segment / 2);
  const top = Math.max(half, segment - half);
  const weight = Float32Array.from({ length: segment }, (_, i) => (i < half ? i + 1 : segment - i) / top);
  for (let offset = 0; offset < length; offset += hop) {
    const count = Math.min(segment, length - offset);
    const before = Math.floor((segment - count) / 2); // a last segment is centred in the real audio around it
    fill(binding.input, mix, { start: offset - before, end: offset + count, segment, mean, scale });
    const silent = mix.every((channel) => quiet(channel, Math.max(0, offset - before), offset + count, before + count));
    if (!silent) await binding.run();
    for (let i = 0; i < count; i++) weights[offset + i] += weight[i];
    for (let s = 0; s < stems.length; s++)
      for (let c = 0; c < channels; c++) {
        const from = (s * channels + c) * segment + before;
        const out = stems[s][c];
        for (let i = 0; i < count; i++)
          out[offset + i] += weight[i] * (silent ? -mean / scale : binding.output[from + i]);
      }
    await onsegment?.(Math.min(1, (offset + hop) / length));
  }
  for (const stem of stems)
    for (const out of stem) for (let i = 0; i < length; i++) out[i] = (out[i] / weights[i]) * scale + mean;
  return stems;
}

// Samples `start` to `end` of the mix, normalised, zeros behind them and before the recording's start.
function fill(input, mix, { start, end, segment, mean, scale }) {
  mix.forEach((channel, c) => {
    const at = c * segment;
    for (let i = 0; i < segment; i++) {
      const place = start + i;
      input[at + i] = place >= 0 && place < end ? (channel[place] - mean) / scale : 0;
    }
  });
}

function quiet(channel, start, end, count) {
  let energy = 0;
  for (let i = start; i < end; i++) energy += channel[i] ** 2;
  return energy < SILENCE ** 2 * count;
}

// Mean and unbiased standard deviation of the channels' mean. Where the channels nearly cancel in it (karaoke tracks, a
// channel turned around) the deviation is at least MONO_SHARE of that of all channels, for the range of fp16 and int8.
export function statistics(mix) {
  const length = mix[0].length;
  const mono = (i) => mix.reduce((sum, channel) => sum + channel[i], 0) / mix.length;
  let sum = 0;
  for (let i = 0; i < length; i++) sum += mono(i);
  const mean = sum / length;
  let squares = 0;
  let apart = 0;
  for (let i = 0; i < length; i++) {
    const middle = mono(i);
    squares += (middle - mean) ** 2;
    apart += mix.reduce((sum, channel) => sum + (channel[i] - middle) ** 2, 0) / mix.length;
  }
  squares = Math.max(squares, MONO_SHARE ** 2 * (squares + apart));
  return { mean, std: length > 1 ? Math.sqrt(squares / (length - 1)) : 0 };
}
