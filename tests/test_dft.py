"""The matrix-product STFT against the FFT one, and against scipy."""

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from edge.export.dft import STFT, InverseSTFT, WindowedPhases, bin_weights, reflected_hops
from edge.models.spectrogram import istft, stft


@pytest.mark.parametrize(("nfft", "length"), [(4096, 20000), (4096, 16384), (1024, 5003)])
def test_matches_fft(nfft, length):
    torch.manual_seed(length)
    mix = torch.randn(1, 2, length)
    hop, frames = nfft // 4, -(-length // (nfft // 4))
    expected = stft(mix, nfft)
    got = STFT(WindowedPhases(nfft), frames)(reflected_hops(mix, frames, hop))
    assert torch.allclose(got, expected, atol=2e-5)
    spec = torch.randn_like(expected)
    wave = InverseSTFT(WindowedPhases(nfft), frames)(spec * bin_weights(nfft)).reshape(1, 2, -1)
    pad = hop // 2 * 3
    assert torch.allclose(wave[..., pad : pad + length], istft(spec, length), atol=2e-5)


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
