"""The matrix-product STFT against the FFT one, and against scipy."""

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from edge.bundle import snr_db
from edge.export.dft import STFT, reflected_hops
from edge.models.spectrogram import istft, stft

LENGTHS = [(4096, 20000), (48, 99), (8192, 20001), (3072, 9000), (2048, 9000), (1024, 5003), (512, 2600)]


@pytest.mark.parametrize(("nfft", "length"), LENGTHS)
@pytest.mark.parametrize("channels", [1, 2])
def test_matches_fft(nfft, length, channels):
    torch.manual_seed(length)
    mix = torch.randn(1, channels, length)
    hop, frames = nfft // 4, -(-length // (nfft // 4))
    expected = stft(mix.double(), nfft)
    got = STFT(nfft, frames, channels)(reflected_hops(mix, frames, hop))
    assert snr_db(expected.numpy(), got.numpy()) > 125  # fp32 rounding; torch's own FFT: 137


def test_impulse():
    """The spectrum of one sample, in closed form: every bin lies where it belongs."""
    nfft, frames = 512, 1
    hops = torch.zeros(1, 1, 4, nfft // 4)
    sample = 201
    hops.view(-1)[sample] = 1
    spec = STFT(nfft, frames, 1)(hops)[0, :, :, 0].double()
    phase = -2 * np.pi * sample * np.arange(nfft // 2) / nfft
    expected = (0.5 - 0.5 * np.cos(2 * np.pi * sample / nfft)) / nfft**0.5 * np.stack([np.cos(phase), np.sin(phase)])
    assert np.allclose(spec.numpy(), expected, atol=1e-8)


def test_tables_are_small():
    """They must not outweigh a small network."""
    assert sum(table.numel() for table in STFT(4096, 10, 2).buffers()) * 4 < 20_000


@pytest.mark.parametrize("nfft", [8, 216, 4095])
def test_rejects_other_lengths(nfft):
    with pytest.raises(ValueError, match="multiple of 16"):
        STFT(nfft, 4, 1)


def test_matches_scipy_and_inverts():
    nfft, length = 4096, 30000
    noise = torch.randn(1, 1, length + 2)
    mix = noise[..., :-2] + 2 * noise[..., 1:-1] + noise[..., 2:]  # nothing at Nyquist, the bin that is dropped
    spec = stft(mix, nfft)
    pad = nfft // 8 * 3
    padded = np.pad(mix[0, 0].numpy().astype(np.float64), (pad, pad + (-length) % 1024), mode="reflect")
    reference = ShortTimeFFT(hann(nfft, sym=False), 1024, 1)
    frames = np.stack([padded[i * 1024 : i * 1024 + nfft] for i in range(spec.shape[-1])])
    expected = np.fft.rfft(frames * reference.win)[:, :-1].T / 64
    assert np.allclose(spec[0, 0].numpy(), expected.real, atol=2e-5)
    assert np.allclose(spec[0, 1].numpy(), expected.imag, atol=2e-5)
    again = istft(spec, length)
    assert (again - mix)[..., 4096:-4096].abs().max() < 1e-3
