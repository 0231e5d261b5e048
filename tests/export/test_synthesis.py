"""The last transposed convolution and the inverse STFT as one map, against both in torch, in double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge.bundle import snr_db
from edge.export.synthesis import Synthesis
from edge.models.spectrogram import istft


def convolution(inputs: int, signals: int, bias: bool = True) -> nn.ConvTranspose2d:
    conv = nn.ConvTranspose2d(inputs, 2 * signals, (8, 1), (4, 1), (2, 0), bias=bias)
    if bias:
        nn.init.normal_(conv.bias)
    return conv


def expected(conv: nn.ConvTranspose2d, rows: torch.Tensor, scale: float, offset: float, length: int) -> torch.Tensor:
    with torch.no_grad():
        bias = None if conv.bias is None else conv.bias.double()
        spec = nn.functional.conv_transpose2d(rows.double(), conv.weight.double(), bias, conv.stride, conv.padding)
    return istft(spec * scale + offset, length)


@torch.no_grad()
def found(conv: nn.ConvTranspose2d, rows: torch.Tensor, scale: float, offset: float, length: int) -> torch.Tensor:
    nfft, hop = 8 * rows.shape[2], 2 * rows.shape[2]
    hops = Synthesis(conv, nfft, rows.shape[3])(rows, torch.tensor(scale), torch.tensor(offset))
    assert hops.shape == (conv.out_channels // 2, 1, rows.shape[3] + 3, hop)
    pad = hop // 2 * 3
    return hops.reshape(1, conv.out_channels // 2, -1)[..., pad : pad + length]


@settings(max_examples=30, deadline=None)
@given(
    nfft=st.sampled_from([4096, 1024, 1152, 512, 256, 192]),
    inputs=st.integers(1, 9),
    signals=st.integers(1, 4),
    frames=st.integers(4, 9),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_the_convolution_and_its_inverse_stft(nfft, inputs, signals, frames, bias, seed):
    torch.manual_seed(seed)
    conv = convolution(inputs, signals, bias)
    rows, length = torch.randn(1, inputs, nfft // 8, frames), frames * nfft // 4 - seed % 50
    scale, offset = 10 ** torch.empty(2).uniform_(-2, 1).double().numpy()
    wanted = expected(conv, rows, float(scale), float(offset), length)
    assert snr_db(wanted.numpy(), found(conv, rows, float(scale), float(offset), length).numpy()) > 110


@pytest.mark.parametrize("row", [0, 1, 511])
def test_one_row_at_the_ends_of_the_spectrum(row):
    """Taps beyond bin 0 and beyond the last bin vanish, and bin 0 counts half."""
    torch.manual_seed(row)
    conv, rows = convolution(2, 1, bias=False), torch.zeros(1, 2, 512, 4)
    rows[0, :, row, 1] = 1
    wanted = expected(conv, rows, 1.0, 0.0, 4096)
    assert snr_db(wanted.numpy(), found(conv, rows, 1.0, 0.0, 4096).numpy()) > 120


def test_an_offset_alone():
    conv = convolution(1, 1, bias=False)
    wanted = expected(conv, torch.zeros(1, 1, 512, 5), 1.0, 0.25, 5000)
    assert snr_db(wanted.numpy(), found(conv, torch.zeros(1, 1, 512, 5), 1.0, 0.25, 5000).numpy()) > 120


def test_tables_are_small():
    """Beside the convolution's own weights they must not outweigh a small network."""
    tables = Synthesis(convolution(16, 8), 4096, 173).buffers()
    assert sum(table.numel() for table in tables) * 4 < 35_000


@pytest.mark.parametrize(("stride", "taps", "padding"), [(2, 4, 1), (4, 12, 4), (4, 8, 0)])
def test_other_convolutions_are_refused(stride, taps, padding):
    conv = nn.ConvTranspose2d(1, 2, (taps, 1), (stride, 1), (padding, 0))
    with pytest.raises(ValueError, match="no synthesis"):
        Synthesis(conv, 4096, 4)
