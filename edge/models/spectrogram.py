"""The STFT pair of HT Demucs: normalised Hann STFT with hop nfft/4, real and imaginary parts as channels."""

import math

import torch
from torch.nn import functional as F


def stft(mix: torch.Tensor, nfft: int) -> torch.Tensor:
    """(B, C, L) -> (B, 2C, nfft/2, ceil(L / hop)), channels ordered (left re, left im, right re, right im).

    The Nyquist bin is dropped, and L must exceed 3 * nfft / 8 (the reflection at both ends).
    """
    b, c, length = mix.shape
    hop = nfft // 4
    frames = math.ceil(length / hop)
    # two reflections in the released code (by 3/2 hop, then torch.stft's centring) whose outer frames are dropped:
    # one reflection by 3/2 hop and no centring gives the same frames
    pad = hop // 2 * 3
    mix = F.pad(mix, (pad, pad + frames * hop - length), mode="reflect")
    window = torch.hann_window(nfft).to(mix)
    flat = mix.reshape(b * c, -1)
    spec = torch.stft(flat, nfft, hop, window=window, normalized=True, center=False, return_complex=True)
    spec = torch.view_as_real(spec[:, :-1, :frames]).permute(0, 3, 1, 2)
    return spec.reshape(b, 2 * c, nfft // 2, frames)


def istft(spec: torch.Tensor, length: int) -> torch.Tensor:
    """(B, 2C, nfft/2, frames) -> (B, C, length): the inverse of `stft`."""
    b, c2, half, frames = spec.shape
    nfft, hop = 2 * half, half // 2
    z = spec.reshape(b * c2 // 2, 2, half, frames).permute(0, 2, 3, 1).contiguous()
    z = F.pad(torch.view_as_complex(z), (2, 2, 0, 1))
    window = torch.hann_window(nfft).to(spec)
    pad = hop // 2 * 3
    wave = torch.istft(z, nfft, hop, window=window, normalized=True, length=hop * frames + 2 * pad)
    return wave[:, pad : pad + length].reshape(b, c2 // 2, length)
