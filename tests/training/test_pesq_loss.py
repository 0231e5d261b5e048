"""The differentiable PESQ against the standard's own program, and its gradients where there is nothing to hear."""

import numpy as np
import pytest
import torch

from edge import samples
from edge.training.losses import enhancer_loss
from edge.training.pesq_loss import pesq_disturbance, pesq_mos

pesq = pytest.importorskip("pesq")


def _degraded(clean: np.ndarray) -> dict[str, np.ndarray]:
    """Noise at three levels, white and low, lost bands, a quieter half, clipping, pauses of a tenth of a second."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(clean)
    hertz = np.fft.rfftfreq(len(clean), 1 / 16000)
    white = rng.standard_normal(len(clean))
    low = np.convolve(white, np.ones(16) / 16, "same")
    out = {}
    for snr in (0, 10, 25):
        for name, noise in (("white", white), ("low", low)):
            out[f"{name} {snr}"] = clean + noise * clean.std() / noise.std() * 10 ** (-snr / 20)
    for cutoff in (2000, 4000):
        out[f"below {cutoff}"] = np.fft.irfft(spectrum * (hertz < cutoff), len(clean))
    out["quieter half"] = clean * np.where(np.arange(len(clean)) < len(clean) // 2, 1, 0.3)
    out["clipped"] = np.clip(clean, -0.3 * np.abs(clean).max(), 0.3 * np.abs(clean).max())
    out["pauses"] = clean * (np.arange(len(clean)) % 8000 > 1600)
    out["half as loud"] = 0.5 * clean
    return out


def test_it_scores_as_the_standards_own_program_does():
    clean = samples.speech()[1][: 16000 * 6]
    cases = _degraded(clean)
    expected = np.array([pesq.pesq(16000, clean, audio.astype(np.float32), "wb") for audio in cases.values()])
    batch = torch.from_numpy(np.stack([*cases.values()]).astype(np.float32))
    scores = pesq_mos(batch, torch.from_numpy(clean).expand(len(batch), -1)).numpy()
    assert np.corrcoef(expected, scores)[0, 1] > 0.97
    assert np.abs(expected - scores).mean() < 0.15, [*zip(cases, expected, scores, strict=True)]


def test_the_same_audio_scores_best_at_any_level():
    clean = torch.from_numpy(samples.speech()[1][:48000].copy())[None]
    for gain in (0.001, 0.1, 1.0):
        assert pesq_disturbance(gain * clean, clean).item() == pytest.approx(0, abs=0.03)
        assert pesq_mos(gain * clean, clean).item() == pytest.approx(4.64, abs=0.02)


@pytest.mark.parametrize("kind", ["silent pair", "silent estimate", "silent end", "equal"])
def test_gradients_are_finite_where_there_is_nothing_to_hear(kind):
    clean = torch.from_numpy(samples.speech()[1][:32000].copy())[None]
    estimate = clean + 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    if kind == "silent pair":
        clean, estimate = torch.zeros_like(clean), torch.zeros_like(clean)
    elif kind == "silent estimate":
        estimate = torch.zeros_like(clean)
    elif kind == "silent end":
        clean[:, 10000:], estimate[:, 10000:] = 0, 0
    else:
        estimate = clean.clone()
    estimate.requires_grad_()
    loss = enhancer_loss(estimate, clean, clean)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(estimate.grad).all()


def test_steps_down_its_gradient_raise_the_standards_score():
    noisy, clean = (audio[:48000].copy() for audio in samples.speech())
    estimate = torch.from_numpy(noisy.copy())[None].requires_grad_()
    optimizer = torch.optim.Adam([estimate], lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        pesq_disturbance(estimate, torch.from_numpy(clean)[None]).sum().backward()
        optimizer.step()
    before, after = (pesq.pesq(16000, clean, x, "wb") for x in (noisy, estimate.detach()[0].numpy()))
    assert after > before + 0.1
