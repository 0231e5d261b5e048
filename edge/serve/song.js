// The card of a song that is taken apart.
import { $, Transport, listening, sentence, tell } from "./page.js";
import { Player, decode, save } from "./recording.js";

export class SongPanel {
  constructor(separator, stopOthers) {
    Object.assign(this, { separator, stopOthers });
    this.stems = null; // {source: channels}
    this.player = null;
    this.transport = new Transport("song-");
    $("song-card").hidden = false;
    $("song").onchange = () => this.run();
    $("song-play").onclick = () => (this.player ? this.stop() : this.play());
    $("song-cancel").onclick = () => this.job?.abort(new Error("Cancelled."));
    listening.onchange(() => this.player?.setVolume(listening.volume));
    $("stems").replaceChildren(...separator.sources.map((source) => this.row(source)));
  }

  row(source) {
    const row = document.createElement("li");
    const heard = Object.assign(document.createElement("input"), { type: "checkbox", checked: true, disabled: true });
    heard.onchange = () => this.player?.setGains(this.gains);
    const label = document.createElement("label");
    label.append(heard, source);
    const button = Object.assign(document.createElement("button"), { type: "button", disabled: true, textContent: "Save WAV" });
    button.onclick = () => save(`${this.name}_${source}.wav`, this.stems[source], this.rate);
    button.setAttribute("aria-label", `Save ${source}`);
    row.dataset.source = source;
    row.append(label, button);
    return row;
  }

  get gains() {
    const rows = [...$("stems").children];
    return Object.fromEntries(rows.map((row) => [row.dataset.source, row.querySelector("input").checked ? 1 : 0]));
  }

  enable(enabled) {
    for (const control of $("stems").querySelectorAll("input, button")) control.disabled = !enabled;
    $("song-play").disabled = !enabled;
  }

  async run() {
    const [file] = $("song").files;
    if (!file) return;
    tell("");
    this.stop();
    this.stems = null;
    this.enable(false);
    this.transport.reset(null);
    this.job = new AbortController();
    $("song").disabled = true;
    $("song-cancel").hidden = $("song-progress").hidden = false;
    $("song-progress").removeAttribute("value");
    $("song-status").textContent = file.name;
    try {
      const { channels, rate } = await decode(file);
      const started = performance.now();
      const onprogress = (done) => {
        $("song-progress").value = done;
        $("song-status").textContent = `${file.name}: ${Math.round(100 * done)} %`;
      };
      this.stems = await this.separator.separate(channels, { sampleRate: rate, onprogress, signal: this.job.signal });
      const seconds = (performance.now() - started) / 1000;
      Object.assign(this, { rate, name: file.name.replace(/\.[^.]*$/, "") });
      const length = channels[0].length / rate;
      $("song-status").textContent = `${file.name}: ${length.toFixed(1)} s of audio, separated in ${seconds.toFixed(1)} s`;
      this.enable(true);
      this.transport.reset(length);
    } catch (error) {
      tell(sentence(error));
    } finally {
      $("song").disabled = false;
      $("song").value = "";
      $("song-cancel").hidden = $("song-progress").hidden = true;
    }
  }

  play() {
    this.stopOthers(this);
    const { gains } = this;
    const settings = { gains, volume: listening.volume, speaker: $("speaker").value, onend: () => this.end() };
    this.player = new Player(this.stems, this.rate, settings);
    this.transport.follow(this.player);
    $("song-play").textContent = "Stop";
  }

  end() {
    this.stop();
    this.transport.reset(this.transport.duration);
  }

  stop() {
    this.player?.stop();
    this.player = null;
    this.transport.follow(null);
    $("song-play").textContent = "Play";
  }
}
