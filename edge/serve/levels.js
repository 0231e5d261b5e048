// Levels in decibels, drawn.

export const FLOOR = -60;

export const decibels = (rms) => Math.max(FLOOR, 20 * Math.log10(Math.max(rms, 1e-9)));

export function setMeter(meter, output, rms) {
  const level = decibels(rms);
  meter.firstElementChild.style.transform = `scaleX(${1 - level / FLOOR})`;
  meter.classList.toggle("hot", level > -3);
  meter.setAttribute("aria-valuenow", level.toFixed(1));
  output.textContent = level > FLOOR ? `${level.toFixed(0)} dB` : "silent";
}

const LOOKED_AT = 2048; // samples of a part

// Root mean square of `count` equal parts of the samples; of long parts, of some of their samples.
export function parts(samples, count) {
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * samples.length) / count);
    const to = Math.max(from + 1, Math.floor(((i + 1) * samples.length) / count));
    const step = Math.max(1, Math.floor((to - from) / LOOKED_AT));
    let sum = 0;
    let n = 0;
    for (let at = from; at < to; at += step, n++) sum += (samples[at] ?? 0) ** 2;
    return Math.sqrt(sum / n);
  });
}

// Bars of [before, after] levels, one over the other, around the middle.
export function drawLevels(canvas, pairs, slots) {
  const scale = devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const style = getComputedStyle(canvas);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const step = width / slots;
  const bar = Math.max(1, step * 0.7);
  for (const [index, colour] of [[0, "--before"], [1, "--accent"]]) {
    context.fillStyle = style.getPropertyValue(colour);
    pairs.forEach((pair, i) => {
      const tall = Math.max(scale, (1 - decibels(pair[index]) / FLOOR) * height * 0.92);
      context.fillRect((slots - pairs.length + i) * step, (height - tall) / 2, bar, tall);
    });
  }
}
