"""The disturbance that PESQ measures (ITU-T P.862 and P.862.2, wideband), differentiable and without time alignment.

After the standard's perceptual model; filters act on power spectra in place of samples, and levels are aligned by the
same spectra. tests/training/test_pesq_loss.py holds it against the standard's own program.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

FRAME, HOP = 512, 256
TARGET_POWER = 1e7  # of the aligned signals between 325 and 3250 Hz
POWER_SCALE, LOUDNESS_SCALE = 6.910853e-6, 1.866055e-1  # Sp and Sl of the standard at 16 kHz
LARGEST = 45.0  # disturbance of a frame

# Tables of the standard for 16 kHz, by Bark band: bins of a 512-point spectrum, centre and width in Bark, correction
# of the power density, absolute threshold of hearing.
BINS = """1 1 1 1 1 1 1 1 2 1 1 1 1 1 2 1 1 2 2 2 2 2 2 2 2 3 3 3 3 4 3 4 5 4 5 6 6 7 8 9 9 12 12 15 16 18 21 25 20"""
CENTRES = """
.078672 .316341 .636559 .961246 1.29045 1.624217 1.962597 2.305636 2.653383 3.005889 3.363201 3.725371 4.092449
4.464486 4.841533 5.223642 5.610866 6.003256 6.400869 6.803755 7.211971 7.625571 8.044611 8.469146 8.899232 9.334927
9.776288 10.223374 10.676242 11.134952 11.599563 12.070135 12.546731 13.029408 13.518232 14.013264 14.514566 15.022202
15.536238 16.056736 16.583761 17.117382 17.657663 18.204674 18.758478 19.319147 19.886751 20.461355 21.043034"""
WIDTHS = """
.157344 .317994 .322441 .326934 .331474 .336061 .340697 .345381 .350114 .354897 .359729 .364611 .369544 .374529 .379565
.384653 .389794 .394989 .400236 .405538 .410894 .416306 .421773 .427297 .432877 .438514 .444209 .449962 .455774 .461645
.467577 .473569 .479621 .485736 .491912 .498151 .504454 .510819 .51725 .523745 .530308 .536934 .543629 .55039 .55722
.564119 .571085 .578125 .585232"""
CORRECTIONS = """
100 100 100 100 100 100 100 100 50 100 100 100 100 100 53.047077 110 117.991989 65 68.760147 70 71.428818 75 76.843384
80.968781 88.646126 63.864388 68.15535 72.547775 75.584831 58.379192 80.950836 64.135651 54.384785 73.821884 64.437073
59.176456 65.521278 61.399822 58.144047 57.004543 64.126297 54.311001 61.114979 55.077751 56.849335 55.628868 53.137054
54.985844 79.546974"""
THRESHOLDS = """
51286152 2454709.5 70794.593750 4897.788574 1174.897705 389.045166 104.71286 45.70882 17.782795 9.772372 4.897789
3.090296 1.905461 1.258925 .977237 .724436 .562341 .457088 .389045 .331131 .295121 .269153 .25704 .251189 .251189
.251189 .251189 .263027 .288403 .30903 .338844 .371535 .398107 .436516 .467735 .489779 .501187 .501187 .512861 .524807
.524807 .524807 .512861 .47863 .42658 .371535 .363078 .416869 .537032"""


def pesq_disturbance(estimate: Tensor, clean: Tensor) -> Tensor:
    """What is taken from the raw score of 4.5: float (B, N) pairs at 16 kHz, N at least 5,632 -> (B,), 0 at best."""
    tables = _tables(estimate.device)
    degraded, reference = (_bark_power(x, tables) for x in (estimate, clean))
    threshold = tables["threshold"]
    silent = _audible(reference, 100 * threshold).sum(2) < 1e7
    averages = [(_audible(x, 100 * threshold) * ~silent[..., None]).mean(1) for x in (degraded, reference)]
    # a filter over all of the recording is partly forgiven, and so is a slow change of level
    filtered = ((averages[0] + 1000) / (averages[1] + 1000)).clamp(0.01, 100)[:, None]
    reference = reference * filtered
    gain = (_audible(reference, threshold).sum(2) + 5e3) / (_audible(degraded, threshold).sum(2) + 5e3)
    gain = torch.cat([gain[:, :1], 0.8 * gain[:, 1:] + 0.2 * gain[:, :-1]], 1).clamp(3e-4, 5)
    degraded = degraded * gain[..., None]

    heard, meant = (_loudness(x, tables) for x in (degraded, reference))
    difference = heard - meant
    masked = difference.abs() - 0.25 * torch.minimum(heard, meant)
    difference = difference.sign() * masked.clamp_min(0)
    added = ((degraded + 50) / (reference + 50)) ** 1.2  # what was added disturbs more than what is missing
    added = torch.where(added < 3, 0, added.clamp_max(12))
    width = tables["width"]
    total = width.sum()
    symmetric = (total * (difference * width).square().sum(2) + 1e-12).sqrt()
    asymmetric = (difference.abs() * added * width).sum(2)
    level = ((_audible(reference, threshold).sum(2) + 1e5) / 1e7) ** 0.04
    return 0.1 * _over_time(symmetric / level) + 0.0309 * _over_time(asymmetric / level)


def pesq_mos(estimate: Tensor, clean: Tensor) -> Tensor:
    """PESQ-wb, 1.04 to 4.64, on the mapping of P.862.2: (B, N) pairs -> (B,)."""
    return 0.999 + 4 / (1 + torch.exp(-1.3669 * (4.5 - pesq_disturbance(estimate, clean)) + 3.8224))


@cache
def _tables(device: torch.device) -> dict[str, Tensor]:
    bins, centres, widths, corrections, thresholds = (
        torch.tensor([float(v) for v in table.split()]) for table in (BINS, CENTRES, WIDTHS, CORRECTIONS, THRESHOLDS)
    )
    band = torch.repeat_interleave(torch.arange(len(bins)), bins.long())
    of_bands = torch.nn.functional.one_hot(band, len(bins)) * (corrections * POWER_SCALE)
    used = torch.arange(1, FRAME // 2)  # neither 0 Hz nor the last bin; its band, the lowest, does not count either
    z = torch.exp(1j * torch.pi * used / (FRAME // 2))
    emphasis = (2.740826 * z**2 - 5.4816519 * z + 2.740826) / (z**2 - 1.9444777 * z + 0.94597794)
    hertz = used * (16000 / FRAME)
    content = {
        "emphasis": emphasis.abs().square(),
        "level": ((hertz >= 325) & (hertz <= 3250)).float(),
        "bands": of_bands[used][:, 1:],
        "width": widths[1:],
        "threshold": thresholds[1:],
        "exponent": 0.23 * (6 / (centres + 2)).clamp(1, 2)[1:] ** 0.15,
    }
    return {name: value.to(device) for name, value in content.items()}


def _bark_power(audio: Tensor, tables: dict[str, Tensor]) -> Tensor:
    """Power (B, frames, 48) by Bark band at the standard's level; the lowest band is left out, as there."""
    window = torch.hann_window(FRAME, device=audio.device)
    spectrum = torch.stft(audio.float(), FRAME, HOP, window=window, center=False, return_complex=True)
    power = (spectrum.real.square() + spectrum.imag.square())[:, 1 : FRAME // 2].transpose(1, 2)
    # mean power of the band by Parseval: both halves of the spectrum, over frame and window
    mean = 2 * (power @ tables["level"]).mean(1) / (FRAME * window.square().sum())
    scale = TARGET_POWER / (mean + 1e-10)
    return (power * tables["emphasis"]) @ tables["bands"] * scale[:, None, None]


def _audible(power: Tensor, threshold: Tensor) -> Tensor:
    return power * (power > threshold)


def _loudness(power: Tensor, tables: dict[str, Tensor]) -> Tensor:
    """Zwicker's law above the threshold of hearing."""
    threshold, exponent = tables["threshold"], tables["exponent"]
    sone = (2 * threshold) ** exponent * ((0.5 + 0.5 * power / threshold) ** exponent - 1)
    return LOUDNESS_SCALE * sone * (power > threshold)


def _over_time(disturbance: Tensor) -> Tensor:
    """(B, frames) -> (B,): the sixth-power mean over 20 frames, the second over these, half of them shared."""
    parts = (disturbance.clamp_max(LARGEST) / LARGEST).unfold(1, 20, 10)
    peaks = (parts.pow(6).mean(2) + 1e-18) ** (1 / 6)
    return LARGEST * peaks.square().mean(1).sqrt()
