"""HT Demucs in fp16 for ExecuTorch on ARM64: near fp32 at every level, finite on what would overflow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export import enhancer, separator
from test_lower_htdemucs import SMALL, lively
from torch import nn
from torch.nn import functional as F

from edge import samples
from edge.bundle import Bundle, open_bundle, snr_db
from edge.compression.processors import PROCESSORS
from edge.errors import EdgeError, InputError
from edge.export.backends import EXPORTERS
from edge.export.delegable import Upsampling
from edge.export.forms import choose, lower_half
from edge.export.lower import lower
from edge.export.norms import RowNorm, Standardize
from edge.export.pipeline import ExportOptions, export_network
from edge.interface import separation_interface
from edge.models.htdemucs import HTDemucsConfig
from edge.runtime.graphs import load_graph
from edge.zoo import Model

LENGTH = 44100


def clips() -> dict[str, torch.Tensor]:
    """Segments whose squares, sums or quotients lie outside fp16."""
    time = torch.arange(LENGTH) / 44100
    click = torch.zeros(1, 2, LENGTH)
    click[..., LENGTH // 2] = 1.0
    music = torch.from_numpy(samples.music()[None, :, :LENGTH].astype(np.float32))
    return {
        "silence": torch.zeros(1, 2, LENGTH),
        "click": click,
        "loud sine": 30 * torch.sin(2 * torch.pi * 1000 * time).expand(1, 2, -1).contiguous(),
        "offset": torch.full((1, 2, LENGTH), 0.5),
        "faint music": 1e-4 * music,
        "loud music": 30 * music,
    }


def small() -> Model:
    config = HTDemucsConfig(**{**SMALL, "depth": 3, "t_layers": 1, "dconv_depth": 1})
    return Model("small", lively(config), "MIT", "none")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("half") / "b"
    export_network(small(), ExportOptions(formats=("executorch",)), folder)
    return open_bundle(folder)


@torch.no_grad()
def test_program_is_near_the_network_and_finite(exported):
    manifest, network = exported.manifest, small().network
    record = manifest.graphs["executorch"]
    assert {layer.precision for layer in record.layers} == {"fp16"} and all(layer.reason for layer in record.layers)
    assert record.delegated_macs == 1.0 and manifest.parity["executorch"] > 30
    assert record.weight_bytes < 2.3 * manifest.compression.parameters.after  # 2 bytes, and taps of zero
    graph = load_graph(exported, "executorch")
    for name, clip in clips().items():
        got, expected = graph([clip.numpy()])[0], network(clip).numpy()
        assert np.isfinite(got).all(), name
        if "music" in name:
            assert snr_db(expected, got) > 30, name
        if name == "silence":
            assert not got.any()


def test_what_auto_chooses_and_what_cannot_be():
    def chosen(network, name, backend, target):
        return choose(network, name, EXPORTERS[backend], PROCESSORS[target]).name

    network, small = separator().network, enhancer().network
    assert chosen(network, "auto", "executorch", "arm64") == "fp16"
    others = [(network, "executorch", "x86"), (network, "onnx", "arm64"), (small, "executorch", "arm64")]
    assert {chosen(net, "auto", backend, target) for net, backend, target in others} == {"int8"}
    assert chosen(network, "int8", "executorch", "arm64") == "int8"
    assert chosen(network, "fp16", "executorch", "x86") == "fp16"
    for net, backend in ((network, "onnx"), (small, "executorch")):
        with pytest.raises(InputError, match="no fp16 here"):
            chosen(net, "fp16", backend, "arm64")


def test_a_precision_that_cannot_be_is_refused_before_the_work(tmp_path):
    def never(*arguments):
        raise AssertionError("trained")

    options = ExportOptions(prune=0.3, precision="fp16", formats=("executorch", "onnx"), recover=never)
    with pytest.raises(InputError, match="the onnx backend, does not compute in it"):
        export_network(small(), options, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@torch.no_grad()
def test_values_that_overflow_stay_in_fp32():
    model = lively(HTDemucsConfig(**SMALL))
    batch = (clips()["loud music"],)
    c = model.config
    interface = separation_interface(list(c.sources), c.samplerate, c.audio_channels, LENGTH)
    half = lower_half(model, interface, EXPORTERS["executorch"], [batch])
    assert half is not None and half(*batch).dtype == torch.float32
    model.encoder[0].conv.weight *= 1e6
    assert lower_half(model, interface, EXPORTERS["executorch"], [batch]) is None


@torch.no_grad()
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-4, 3.3), st.floats(0, 300), st.sampled_from([(1, 3000), (5, 173)]))
def test_row_norm_in_half_holds_five_orders_of_magnitude(seed, level, offset, shape):
    torch.manual_seed(seed)
    channels, (rows, frames) = 6, shape
    x = 10**level * torch.randn(1, channels, rows, frames)
    x = (x + min(offset, 20 * 10**level)).half().float()  # as the layer before would give it
    normed, inverse = RowNorm(channels, 1e-5, "executorch-fp16").half()((x * RowNorm.SCALE).half())
    expected = F.group_norm(x.permute(0, 2, 1, 3).reshape(rows, channels, frames), 1, eps=1e-5)
    got = (normed.float() * inverse.float())[0].permute(1, 0, 2)
    assert snr_db(expected.numpy(), got.numpy()) > 35


@pytest.mark.parametrize("crest", [1, 100, 30000])
def test_standardized_in_half_stays_finite_and_comes_back(crest):
    torch.manual_seed(0)
    x = 0.1 * torch.randn(1, 2, 1, LENGTH)
    x[..., 5] = 0.1 * crest
    with torch.no_grad():
        y, mean, std = Standardize("executorch-fp16").half()(x.half())
    assert all(torch.isfinite(v).all() for v in (y, mean, std))
    assert snr_db(x.numpy(), (y * std + mean).float().numpy()) > 50
    if crest < 1000:
        assert std.item() == pytest.approx(x.std().item(), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9), st.sampled_from([2, 4, 6]))
def test_upsampling_is_the_transposed_convolution(inputs, outputs, length, stride):
    conv = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride, stride // 2)
    x = torch.randn(1, inputs, 1, length)
    assert Upsampling.fits(conv)
    assert torch.allclose(Upsampling(conv)(x), conv(x[:, :, 0])[:, :, None], atol=1e-5)


def test_a_processor_without_fp16_is_told_of(exported, monkeypatch):
    graph = load_graph(exported, "executorch")

    def refuse(_):
        raise RuntimeError("execute('forward') failed")

    monkeypatch.setattr(graph._runtime, "run", refuse)
    with pytest.raises(EdgeError, match=r"fp16, which needs ARMv8\.2 or x86 with F16C\).*forward"):
        graph([np.zeros((1, 2, LENGTH), np.float32)])


@torch.no_grad()
def test_no_root_is_taken_of_what_arm64_cannot(monkeypatch):
    """XNNPACK's rsqrt on ARM64 squares its estimate: NaN below 2^-16. Seen where the golden input ends in silence."""
    least = []
    rsqrt = torch.rsqrt
    monkeypatch.setattr(torch, "rsqrt", lambda x: least.append(x.min().item()) or rsqrt(x))
    model = small()
    lowered = lower(model.network, LENGTH, "executorch-fp16").half()
    for name, clip in clips().items():
        for factor in (1.0, 0.05):  # a faint copy, and one that ends early
            shortened = torch.cat([clip[..., : int(factor * LENGTH)], 0 * clip[..., int(factor * LENGTH) :]], -1)
            assert torch.isfinite(lowered(shortened)).all(), name
    assert len(least) > 100 and min(least) > 2**-15
