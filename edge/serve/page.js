// What the parts of the page share.
import { share } from "./web/track.js";

export const $ = (id) => document.getElementById(id);

export function tell(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

export const sentence = (error) => {
  const text = error instanceof TypeError ? "edge-serve does not answer: is it running?" : error.message;
  const first = /^[a-z]+:/.test(text) ? text[0] : text[0].toUpperCase(); // addresses stay as they are
  return first + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
};

// Above this the slider means no bound.
const FULL = 40; // dB

// What is chosen above the cards.
export const listening = {
  get volume() { return Number($("volume").value); },
  get enhanced() { return document.querySelector("input[name=mode]:checked").value === "enhanced"; },
  get band() { return $("band").value; },
  get strength() {
    const limit = Number($("strength").value);
    return share(limit > FULL ? null : limit);
  },
  // Share of the enhanced signal in what is heard.
  get share() { return this.enhanced ? this.strength : 0; },
  onchange(call) {
    const changed = () => {
      const limit = Number($("strength").value);
      $("strength-value").textContent = limit > FULL ? "full" : `${limit} dB`;
      $("volume-value").textContent = `${Math.round(100 * this.volume)} %`;
      call();
    };
    for (const input of [...document.querySelectorAll("input[name=mode]"), $("strength"), $("volume")])
      input.addEventListener("input", changed);
  },
};

export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// A slider and a clock that follow a player, and move it.
export class Transport {
  constructor(prefix) {
    this.box = $(`${prefix}transport`);
    this.slider = $(`${prefix}seek`);
    this.text = $(`${prefix}position`);
    this.player = null;
    this.slider.oninput = () => {
      this.player?.seek(Number(this.slider.value));
      this.show(Number(this.slider.value));
    };
  }

  // `seconds` long, shown from the start; null hides it.
  reset(seconds) {
    this.box.hidden = seconds === null;
    this.duration = seconds ?? 0;
    this.slider.max = this.duration;
    this.slider.value = 0;
    this.show(0);
  }

  follow(player) {
    this.player = player;
    clearInterval(this.timer);
    if (!player) return;
    if (Number(this.slider.value) < this.duration - 0.1) player.seek(Number(this.slider.value));
    this.timer = setInterval(() => {
      this.slider.value = player.position;
      this.show(player.position);
    }, 100);
  }

  show(seconds) {
    this.text.textContent = `${clock(seconds)} / ${clock(this.duration)}`;
    this.slider.setAttribute("aria-valuetext", clock(seconds));
  }
}
