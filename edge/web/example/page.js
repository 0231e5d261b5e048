import { EnhancedTrack, createEnhancer } from "../index.js";
import { writeWav } from "../wav.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const tell = (text) => ($("status").textContent = text);

let enhancer;
try {
  enhancer = await createEnhancer(asked.get("bundle") ?? "../enhancer.edge", {
    // A bundler that resolves "onnxruntime-web/wasm" needs no `runtime`.
    runtime: asked.get("runtime") ?? "../node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
  });
  tell(`${enhancer.manifest.name} is ready`);
} catch (error) {
  tell(error.message);
}

$("start").onclick = async () => {
  const audio = { echoCancellation: true, noiseSuppression: false, autoGainControl: false };
  const [microphone] = (await navigator.mediaDevices.getUserMedia({ audio })).getAudioTracks();
  const enhanced = await EnhancedTrack.create(enhancer, microphone, { onend: tell });
  $("heard").srcObject = new MediaStream([enhanced.track]);
  await $("heard").play();
  tell(`live, ${Math.round(enhanced.context.sampleRate / 1000)} kHz`);
};

$("file").onchange = async () => {
  const [file] = $("file").files;
  const { length, sampleRate, ...audio } = await decode(file);
  const enhanced = await enhancer.enhance(audio.channels, { sampleRate, onprogress: (p) => tell(`${Math.round(100 * p)} %`) });
  $("heard").src = URL.createObjectURL(new Blob([writeWav(enhanced, sampleRate)], { type: "audio/wav" }));
  tell(`${file.name}: ${(length / sampleRate).toFixed(1)} s enhanced`);
};

async function decode(file) {
  const audio = await new OfflineAudioContext(1, 1, 48_000).decodeAudioData(await file.arrayBuffer());
  const channels = Array.from({ length: audio.numberOfChannels }, (_, c) => audio.getChannelData(c));
  return { channels, length: audio.length, sampleRate: audio.sampleRate };
}
