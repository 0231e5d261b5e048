// The page: buttons, meters and messages.
import { drawLevels, parts, setMeter } from "./levels.js";
import { Live } from "./live.js";
import { Player, decode, enhance, wav } from "./recording.js";
import { health } from "./stream.js";

const SLOTS = 120;
const $ = (id) => document.getElementById(id);
const mode = () => document.querySelector("input[name=mode]:checked").value;
const volume = () => Number($("volume").value);

let live = null;
let player = null;
let result = null; // {name, rate, original, enhanced}
let history = [];

function tell(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

const sentence = (error) => {
  const text = error instanceof TypeError ? "edge-serve does not answer: is it running?" : error.message;
  return text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
};

async function poll() {
  let text = "not reachable";
  let state = "down";
  try {
    const now = await health();
    text = now.model;
    state = "up";
    const speed = now.rtf === null ? "" : `, RTF ${now.rtf.toFixed(3)}`;
    $("facts").textContent =
      `${now.model} (${now.precision}, ${now.backend}), ${now.sample_rate / 1000} kHz. ` +
      `${now.clients} of ${now.max_clients} clients, load ${Math.round(100 * now.load)}\u00a0%${speed}.`;
  } catch {
    $("facts").textContent = "";
  }
  $("server").textContent = text;
  $("server").className = `pill ${state}`;
}

function showLive() {
  $("live").textContent = live ? "Stop" : "Start";
  $("live").classList.toggle("on", Boolean(live));
  if (live) return;
  for (const side of ["in", "out"]) {
    setMeter($(`meter-${side}`), $(`level-${side}`), 0);
    $(`level-${side}`).textContent = "–";
  }
}

function showLevels({ levels, latency, model, dropped }) {
  setMeter($("meter-in"), $("level-in"), levels[0]);
  setMeter($("meter-out"), $("level-out"), levels[1]);
  const detail = document.createElement("small");
  detail.textContent = `model ${Math.round(1000 * model)} ms`;
  $("latency").replaceChildren(`${Math.round(1000 * latency)} ms`, detail);
  $("dropped").textContent = dropped;
  history = [...history.slice(1 - SLOTS), levels];
  drawLevels($("scope"), history, SLOTS);
}

function stopLive() {
  live?.stop();
  live = null;
  showLive();
}

async function toggleLive() {
  tell("");
  if (live) return stopLive();
  $("live").disabled = true;
  try {
    stopPlayer();
    const { sample_rate: rate } = await health();
    live = await Live.start(rate, mode(), volume(), showLevels, (reason) => {
      live = null;
      showLive();
      tell(sentence(new Error(`${reason}. Start again when it is back.`)));
      poll();
    });
    history = [];
    $("rate").textContent = `${live.sampleRate / 1000} kHz`;
  } catch (error) {
    tell(sentence(error));
  } finally {
    $("live").disabled = false;
    showLive();
  }
}

function stopPlayer() {
  player?.stop();
  player = null;
  $("play").textContent = "Play";
}

async function runFile() {
  const [file] = $("file").files;
  if (!file) return;
  tell("");
  stopPlayer();
  result = null;
  $("play").disabled = $("save").disabled = $("file").disabled = true;
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  $("file-status").textContent = file.name;
  try {
    const { sample_rate: rate } = await health();
    const original = await decode(file, rate);
    const started = performance.now();
    const enhanced = await enhance(original, rate, (done) => ($("progress").value = done));
    const seconds = (performance.now() - started) / 1000;
    result = { name: file.name, rate, original, enhanced };
    $("file-status").textContent = `${file.name}: ${(original.length / rate).toFixed(1)} s of audio, enhanced in ${seconds.toFixed(1)} s`;
    $("play").disabled = $("save").disabled = false;
  } catch (error) {
    tell(sentence(error));
  } finally {
    $("file").disabled = false;
    $("file").value = "";
    $("progress").hidden = true;
    showOverview();
  }
}

function showOverview() {
  const before = result ? parts(result.original, SLOTS) : [];
  const after = result ? parts(result.enhanced, SLOTS) : [];
  drawLevels($("overview"), before.map((level, i) => [level, after[i]]), SLOTS);
}

function togglePlay() {
  if (player) return stopPlayer();
  stopLive();
  const { original, enhanced, rate } = result;
  player = new Player(original, enhanced, rate, mode(), volume(), stopPlayer);
  $("play").textContent = "Stop";
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(wav(result.enhanced, result.rate));
  link.download = `${result.name.replace(/\.[^.]*$/, "")}_enhanced.wav`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

$("live").onclick = toggleLive;
$("file").onchange = runFile;
$("play").onclick = togglePlay;
$("save").onclick = save;
for (const input of document.querySelectorAll("input[name=mode]"))
  input.onchange = () => [live, player].forEach((each) => each?.setMode(mode()));
$("volume").oninput = () => [live, player].forEach((each) => each?.setVolume(volume()));
addEventListener("resize", () => {
  showOverview();
  drawLevels($("scope"), history, SLOTS);
});
showLive();
showOverview();
drawLevels($("scope"), [], SLOTS);
poll();
setInterval(poll, 2000);
