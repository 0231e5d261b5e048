// The card of a recording that is enhanced.
import { drawLevels, parts } from "./levels.js";
import { $, Transport, listening, sentence, tell } from "./page.js";
import { Player, decode, mixed, save } from "./recording.js";

const SLOTS = 120;

export class FilePanel {
  constructor(engine, stopOthers) {
    Object.assign(this, { engine, stopOthers });
    this.result = null; // {name, rate, original, enhanced}
    this.player = null;
    this.transport = new Transport("");
    $("file-card").hidden = false;
    $("file").onchange = () => this.run();
    $("play").onclick = () => (this.player ? this.stop() : this.play());
    $("save").onclick = () => this.save();
    addEventListener("resize", () => this.draw());
    listening.onchange(() => {
      this.player?.setGains(this.gains);
      this.player?.setVolume(listening.volume);
    });
    $("speaker").addEventListener("change", () => this.player?.setSpeaker($("speaker").value));
    this.draw();
  }

  get gains() { return { original: 1 - listening.share, enhanced: listening.share }; }

  async run() {
    const [file] = $("file").files;
    if (!file) return;
    tell("");
    this.stop();
    this.result = null;
    this.transport.reset(null);
    $("play").disabled = $("save").disabled = $("file").disabled = true;
    $("progress").hidden = false;
    $("progress").removeAttribute("value");
    $("file-status").textContent = file.name;
    try {
      const { channels: original, rate } = await decode(file);
      const started = performance.now();
      const enhanced = await this.engine.enhance(original, rate, listening.band, (done) => ($("progress").value = done));
      const seconds = (performance.now() - started) / 1000;
      this.result = { name: file.name, rate, original, enhanced };
      const length = original[0].length / rate;
      $("file-status").textContent = `${file.name}: ${length.toFixed(1)} s of audio, enhanced in ${seconds.toFixed(1)} s`;
      $("play").disabled = $("save").disabled = false;
      this.transport.reset(length);
    } catch (error) {
      tell(sentence(error));
    } finally {
      $("file").disabled = false;
      $("file").value = "";
      $("progress").hidden = true;
      this.draw();
    }
  }

  draw() {
    const before = this.result ? parts(this.result.original[0], SLOTS) : [];
    const after = this.result ? parts(this.result.enhanced[0], SLOTS) : [];
    drawLevels($("overview"), before.map((level, i) => [level, after[i]]), SLOTS);
  }

  play() {
    this.stopOthers(this);
    const { original, enhanced, rate } = this.result;
    const { gains } = this;
    const settings = { gains, volume: listening.volume, speaker: $("speaker").value, onend: () => this.end() };
    this.player = new Player({ original, enhanced }, rate, settings);
    this.transport.follow(this.player);
    $("play").textContent = "Stop";
  }

  end() {
    this.stop();
    if (this.result) this.transport.reset(this.transport.duration);
  }

  stop() {
    this.player?.stop();
    this.player = null;
    this.transport.follow(null);
    $("play").textContent = "Play";
  }

  async save() {
    const { name, rate, original, enhanced } = this.result;
    await save(`${name.replace(/\.[^.]*$/, "")}_enhanced.wav`, await mixed(original, enhanced, listening.strength), rate);
  }
}
