// The page: what it can do, where that is done, and the parts that do it.
import { openEngines } from "./engine.js";
import { FilePanel } from "./file.js";
import { LivePanel } from "./livepanel.js";
import { $, sentence, tell } from "./page.js";
import { SongPanel } from "./song.js";
import { health } from "./stream.js";

const TITLES = { enhance: "Speech enhancement", separate: "Music separation", both: "Speech and music" };

let site = null;
let engines = {};
let panels = [];
let down = false;

function show(text, state) {
  $("server").textContent = text;
  $("server").className = `pill ${state}`;
}

function where() {
  const local = [engines.enhance, engines.separate].every((engine) => !engine || engine.local !== false);
  if (local) return "Audio is processed in this browser and stays on this device.";
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const secured = location.protocol === "https:" ? "" : ", unencrypted";
  return here ? "Audio goes to edge-serve on this computer, and nowhere else." : `Audio goes to ${location.host}${secured}, and nowhere else.`;
}

async function poll() {
  if (!site.server) return;
  try {
    const now = await health();
    const speed = now.rtf === null ? "" : `, RTF ${now.rtf.toFixed(3)}`;
    $("facts").textContent =
      `${now.model} (${now.precision}, ${now.backend}), ${now.sample_rate / 1000} kHz. ` +
      `${now.clients} of ${now.max_clients} clients, load ${Math.round(100 * now.load)}\u00a0%${speed}.`;
    show(now.model, "up");
    if (down) tell("");
    down = false;
  } catch {
    $("facts").textContent = "";
    const alone = engines.enhance?.local;
    show(alone ? "works without the server" : "not reachable", alone ? "up" : "down");
    down = !alone;
  }
}

async function start() {
  try {
    const answer = await fetch("models.json");
    if (!answer.ok) throw new Error(`models.json: the server answered ${answer.status}`);
    site = await answer.json();
  } catch (error) {
    show("not usable", "down");
    return tell(sentence(error));
  }
  engines = await openEngines(site, (text) => show(text, "busy"), (error) => tell(sentence(error)));
  const kinds = Object.keys(engines).filter((task) => engines[task]);
  if (!kinds.length) {
    show("not usable", "down");
    if ($("message").hidden) tell("This page computes in the browser, which needs https or localhost.");
    return;
  }
  $("title").textContent = document.title = TITLES[kinds.length === 2 ? "both" : kinds[0]];
  $("where").textContent = where();
  const stopOthers = (one) => panels.forEach((panel) => panel !== one && panel.stop());
  if (engines.enhance) {
    panels.push(new LivePanel(engines.enhance, stopOthers), new FilePanel(engines.enhance, stopOthers));
  }
  if (engines.separate) panels.push(new SongPanel(engines.separate, stopOthers));
  if (!site.server) {
    $("facts").textContent = `${site.models.map(({ name }) => name).join(", ")}. Works without a network now that it is loaded.`;
    show("ready", "up");
  }
  document.body.dataset.ready = kinds.join(" ");
  await poll();
  setInterval(poll, 2000);
}

start();
