// The microphone's card.
import { drawLevels, setMeter } from "./levels.js";
import { Live, listDevices } from "./live.js";
import { $, listening, sentence, tell } from "./page.js";
import { health } from "./stream.js";

const SLOTS = 120;

export class LivePanel {
  constructor(engine, stopOthers) {
    Object.assign(this, { engine, stopOthers });
    this.live = null;
    this.history = [];
    $("listening").hidden = $("live-card").hidden = false;
    $("live").onclick = () => this.toggle();
    $("microphone").onchange = $("band").onchange = () => this.live && this.restart();
    $("speaker").onchange = () => this.live?.setSpeaker($("speaker").value);
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.list());
    addEventListener("resize", () => this.draw());
    listening.onchange(() => {
      this.live?.setShare(listening.share);
      this.live?.setVolume(listening.volume);
    });
    this.list();
    this.show();
    this.draw();
  }

  list() { return listDevices($("microphone"), $("speaker")).catch((error) => tell(sentence(error))); }

  async toggle() {
    tell("");
    if (this.live) return this.stop();
    await this.start();
  }

  async restart() {
    this.stop();
    await this.start();
  }

  async start() {
    $("live").disabled = true;
    try {
      this.stopOthers(this);
      this.live = await Live.start(this.engine, {
        modelRate: this.engine.modelRate ?? (await health()).sample_rate,
        microphone: $("microphone").value,
        speaker: $("speaker").value,
        share: listening.share,
        volume: listening.volume,
        band: listening.band,
        onlevels: (levels) => this.levels(levels),
        onend: (reason) => {
          this.live = null;
          this.show();
          tell(sentence(new Error(`${reason}. Start again when it is back.`)));
        },
      });
      this.history = [];
      $("rate").textContent = `${this.live.sampleRate / 1000} kHz`;
      this.list(); // with names, now that there is permission
    } catch (error) {
      tell(sentence(error));
    } finally {
      $("live").disabled = false;
      this.show();
    }
  }

  stop() {
    this.live?.stop();
    this.live = null;
    this.show();
  }

  show() {
    $("live").textContent = this.live ? "Stop" : "Start";
    $("live").classList.toggle("on", Boolean(this.live));
    if (this.live) return;
    for (const side of ["in", "out"]) {
      setMeter($(`meter-${side}`), $(`level-${side}`), 0);
      $(`level-${side}`).textContent = "–";
    }
  }

  levels({ levels, latency, model, dropped }) {
    setMeter($("meter-in"), $("level-in"), levels[0]);
    setMeter($("meter-out"), $("level-out"), levels[1]);
    const detail = document.createElement("small");
    detail.textContent = `model ${Math.round(1000 * model)} ms`;
    $("latency").replaceChildren(`${Math.round(1000 * latency)} ms`, detail);
    $("dropped").textContent = dropped;
    this.history = [...this.history.slice(1 - SLOTS), levels];
    this.draw();
  }

  draw() { drawLevels($("scope"), this.history, SLOTS); }
}
