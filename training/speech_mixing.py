"""Noisy speech with its clean target, mixed a batch at a time on the training device.

Voices and noises get other spectra (random shelves and peaks) and other sizes (played slower or faster), a share of
the voices stands in rooms, and what a recorder or a line does comes last: band limits, telephone coding, clipping,
digital silence. The target is the voice's direct path, before all that was done to the noisy side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edge.training.corpus import Corpus

RATE = 16000
QUIET_POWER = 1e-6  # a pause between events: it would be amplified, or be no noise at all


@dataclass(frozen=True)
class Mixture:
    """Shares and ranges of what is done to a batch; ranges are uniform, in dB where they say so."""

    snr_db: tuple[float, float] = (-6.0, 22.0)
    level_db: tuple[float, float] = (-50.0, -14.0)  # RMS of the noisy side
    voice_speed: tuple[float, float] = (0.88, 1.25)
    noise_speed: tuple[float, float] = (0.7, 1.4)
    varied: float = 0.6  # share that gets another speed, and share that gets another spectrum
    rooms: float = 0.5
    noise_in_room: float = 0.3  # of those in rooms
    babble: float = 0.08
    synthetic: float = 0.18
    two_noises: float = 0.22
    no_noise: float = 0.06
    narrow: float = 0.18
    clipped: float = 0.06
    silenced: float = 0.03


class SpeechBatches:
    """Draws (noisy, clean) batches of one split.

    Args:
        folder: a speech data folder.
        split: "train", "validation" or "test".
        samples: length of an example at 16 kHz.
        rooms: impulse responses (R, 2, N): whole room and its direct path; None leaves rooms out.
        device: where all of it lies and is computed.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        samples: int,
        rooms: Tensor | None = None,
        device: str | torch.device = "cpu",
        mixture: Mixture = Mixture(),
    ):
        self.samples, self.mixture, self.device = samples, mixture, torch.device(device)
        self.voices = Corpus(folder, "speech", split, device)
        self.noises = Corpus(folder, "noise", split, device)
        self.rooms = None if rooms is None else rooms.to(device)

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """(noisy, clean), float32 (count, samples) each; the same for the same seed on the same device."""
        random = Random(self.device, seed)
        mix, n = self.mixture, self.samples
        clean = self._varied(self.voices, count, mix.voice_speed, random)
        noise = self._noise(count, random)
        noisy = clean
        if self.rooms is not None:
            reverberant = random.flags(count, mix.rooms)
            responses = self.rooms[random.integers(count, len(self.rooms))[reverberant]].float()
            noisy, clean = clean.clone(), clean.clone()
            noisy[reverberant], clean[reverberant] = convolve(clean[reverberant], responses)
            also = reverberant & random.flags(count, mix.noise_in_room)
            whole = self.rooms[random.integers(count, len(self.rooms))[also], :1].float()
            noise[also] = convolve(noise[also], whole)[0]
        narrow = random.flags(count, mix.narrow)
        snr = random.uniform(count, *mix.snr_db)
        snr[random.flags(count, mix.no_noise) | (narrow & random.flags(count, 0.5))] = 50.0
        noisy = noisy + noise * (_power(noisy) / _power(noise) * 10 ** (-snr / 10)).sqrt()[:, None]

        gain = 10 ** (random.uniform(count, *mix.level_db) / 20) / _power(noisy).sqrt()
        peak = torch.maximum(noisy.abs().amax(1), clean.abs().amax(1)) * gain
        gain = (gain * (0.99 / peak).clamp_max(1.0))[:, None]
        noisy, clean = noisy * gain, clean * gain
        end = (random.uniform(count, 0, 1) * n)[:, None]
        end[~random.flags(count, mix.silenced)] = n  # digital silence, as before a call or in a gated stream
        sounding = torch.arange(n, device=self.device)[None] < end
        noisy, clean = noisy * sounding, clean * sounding
        limit = noisy.abs().amax(1, keepdim=True) * random.uniform(count, 0.25, 0.7)[:, None]
        limit[~random.flags(count, mix.clipped)] = torch.inf
        noisy = torch.clamp(noisy, -limit, limit)
        noisy[narrow] = narrow_band(noisy[narrow], random)
        return noisy, clean

    def _varied(self, corpus: Corpus, count: int, speeds: tuple[float, float], random: Random) -> Tensor:
        crops = corpus.crops(count, _smooth(self.samples * speeds[1]), random.generator)
        return vary(crops, self.samples, speeds, random, self.mixture.varied)

    def _noise(self, count: int, random: Random) -> Tensor:
        """Recorded noise, babble, synthetic noise, and sums of two."""
        mix, n = self.mixture, self.samples
        noise = self._varied(self.noises, count, mix.noise_speed, random)
        kind = random.uniform(count, 0, 1)
        babble = kind < mix.babble
        voices = int(babble.sum())
        if voices:
            crowd = self.voices.crops(voices * 8, n, random.generator).reshape(voices, 8, n)
            heard = torch.arange(8, device=self.device)[None] < 3 + random.integers(voices, 6)[:, None]
            noise[babble] = (crowd * heard[..., None]).sum(1)
        made = (kind > 1 - mix.synthetic) | (_power(noise) < QUIET_POWER)
        noise[made] = synthetic_noise(int(made.sum()), n, random)
        both = random.flags(count, mix.two_noises)
        if int(both.sum()):
            other = self.noises.crops(int(both.sum()), n, random.generator)
            level = _power(other)
            ratio = _power(noise[both]) / level * 10 ** (random.uniform(len(other), -8, 8) / 10)
            noise[both] += other * (ratio.sqrt() * (level > QUIET_POWER))[:, None]
        return noise


class Random:
    """Draws on a device from one seed."""

    def __init__(self, device: torch.device, seed: int):
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, count: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, device=self.device, generator=self.generator)

    def flags(self, count: int, share: float) -> Tensor:
        return self.uniform(count, 0, 1) < share

    def integers(self, count: int, below: int) -> Tensor:
        return torch.randint(below, (count,), device=self.device, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.device, generator=self.generator)


def vary(audio: Tensor, samples: int, speeds: tuple[float, float], random: Random, share: float) -> Tensor:
    """`audio` (B, L) with another spectrum, and played faster or slower: (B, samples).

    Both are done on the spectrum of the whole crop; a group of neighbours has one speed.
    """
    count, length = audio.shape
    spectrum = torch.fft.rfft(audio)
    spectrum = spectrum * random_tilt(count, spectrum.shape[1], random, share)
    groups = max(1, min(8, count // 2))
    speed = torch.exp(random.uniform(groups, math.log(speeds[0]), math.log(speeds[1])))
    speed = torch.where(random.flags(groups, share), speed, 1.0).tolist()
    out = []
    for part, factor in zip(spectrum.tensor_split(groups), speed, strict=True):
        size = max(_smooth(length / factor), samples)
        bins = size // 2 + 1
        part = part[:, :bins] if bins <= part.shape[1] else torch.nn.functional.pad(part, (0, bins - part.shape[1]))
        out.append(torch.fft.irfft(part, size)[:, :samples] * (size / length))
    return torch.cat(out)


def random_tilt(count: int, bins: int, random: Random, share: float) -> Tensor:
    """Gains (count, bins) of a low shelf, a high shelf and a peak, up to 9 dB each; a `1 - share` of rows is flat."""
    f = torch.linspace(1.0, RATE / 2, bins, device=random.device)[None]

    def column(low: float, high: float) -> Tensor:
        return random.uniform(count, low, high)[:, None]

    low = column(-9, 9) / (1 + (f / column(80, 400)) ** 2)
    high = column(-9, 9) / (1 + (column(1500, 5000) / f) ** 2)
    centre, width = torch.exp(column(math.log(200), math.log(5000))), column(0.3, 1.0)
    peak = column(-7, 7) * torch.exp(-0.5 * (torch.log2(f / centre) / width) ** 2)
    return 10 ** ((low + high + peak) * random.flags(count, share)[:, None] / 20)


def convolve(audio: Tensor, responses: Tensor) -> list[Tensor]:
    """`audio` (B, N) through each of its responses (B, R, K): R tensors (B, N)."""
    samples = audio.shape[1]
    if not len(audio):
        return [audio] * responses.shape[1]
    size = _smooth(samples + responses.shape[2])
    spectrum = torch.fft.rfft(audio, size)[:, None] * torch.fft.rfft(responses, size)
    return list(torch.fft.irfft(spectrum, size)[..., :samples].unbind(1))


def narrow_band(audio: Tensor, random: Random) -> Tensor:
    """(B, N) without its upper band: low-passed at 3 to 7 kHz, some with a filter's delay, a fifth telephone-coded.

    A filter's delay is part of the target's phase to undo; most that limit a band (codecs, resamplers) have none.
    """
    count, samples = audio.shape
    if not count:
        return audio
    size = _smooth(samples + 2000)
    spectrum = torch.fft.rfft(audio, size)
    f = torch.arange(spectrum.shape[1], device=audio.device)[None] * (RATE / size)
    cutoff = random.uniform(count, 3000, 7000)
    cutoff[random.flags(count, 0.4)] = 4000.0
    coded = random.flags(count, 0.2)
    cutoff[coded] = 3600.0
    # Butterworth sections by the bilinear transform; the magnitude alone is a filter without delay
    s = 1j * torch.tan(torch.pi * f.clamp(max=RATE / 2 * 0.999) / RATE) / torch.tan(torch.pi * cutoff / RATE)[:, None]
    order = 2 * (2 + random.integers(count, 5))[:, None]
    response = torch.ones_like(s)
    for k in range(6):
        damping = 2 * torch.sin(torch.pi * (2 * k + 1) / (2 * order))
        response = response * torch.where(k < order // 2, 1 / (1 + damping * s + s * s), 1)
    delayed = random.flags(count, 0.25)[:, None]
    response = torch.where(delayed, response, response.abs().to(response.dtype))
    narrow = torch.fft.irfft(spectrum * response, size)[:, :samples]
    level = narrow.clamp(-1, 1)
    law = torch.round(torch.sign(level) * torch.log1p(255 * level.abs()) / math.log(256) * 127) / 127
    law = torch.sign(law) * torch.expm1(law.abs() * math.log(256)) / 255
    return torch.where(coded[:, None], law, narrow)


def synthetic_noise(count: int, samples: int, random: Random) -> Tensor:
    """Noise with a spectral slope from white to brown, at times with mains hum, clicks or a slow swell: (B, N)."""
    if not count:
        return torch.zeros(0, samples, device=random.device)
    size = _smooth(samples)
    f = torch.linspace(0, RATE / 2, size // 2 + 1, device=random.device).clamp_min(30.0)[None]
    slope = f ** random.uniform(count, -1, 0)[:, None]
    out = torch.fft.irfft(torch.fft.rfft(random.normal(count, size)) * slope, size)[:, :samples]
    out = out / (out.std(1, keepdim=True) + 1e-9)
    time = torch.arange(samples, device=random.device)[None] / RATE
    base = torch.where(random.flags(count, 0.5), 50.0, 60.0) * random.uniform(count, 0.99, 1.01)
    hum = random.flags(count, 0.3)
    for harmonic in range(1, 9):
        loud = random.uniform(count, 0, 1.5) / harmonic * hum
        phase = base[:, None] * harmonic * time + random.uniform(count, 0, 1)[:, None]
        out = out + loud[:, None] * torch.sin(2 * torch.pi * phase)
    clicks = torch.rand(count, samples, device=random.device, generator=random.generator)
    clicks = (clicks < random.uniform(count, 2, 30)[:, None] / RATE) * random.normal(count, samples) * 15
    decay = torch.exp(-torch.arange(160, device=random.device)[None] / random.uniform(count, 2, 40)[:, None])
    out = out + convolve(clicks, decay[:, None])[0] * random.flags(count, 0.3)[:, None]
    swell = random.uniform(count, 0.1, 3)[:, None] * time + random.uniform(count, 0, 1)[:, None]
    return out * (1 + 0.9 * torch.sin(2 * torch.pi * swell) * random.flags(count, 0.4)[:, None])


def _power(audio: Tensor) -> Tensor:
    return audio.square().mean(1) + 1e-10


def _smooth(size: float) -> int:
    """The least even length of factors 2, 3 and 5 that is not below `size`: FFTs of it are fast."""
    best = 2 ** math.ceil(math.log2(max(size, 2)))
    for threes in range(5):
        for fives in range(4):
            odd = 3**threes * 5**fives
            best = min(best, odd * 2 ** max(1, math.ceil(math.log2(size / odd))))
    return best
