"""HT Demucs as a graph for one segment: waveform in, stems out, everything in delegable form."""

import math

import torch
from torch import nn

from edge.export.attention import TransformerLayer
from edge.export.delegable import (
    Decoder,
    Encoder,
    as_conv2d,
    as_conv_transpose2d,
)
from edge.export.dft import STFT, reflected_hops
from edge.export.norms import FORMS, LayerNorm, Standardize
from edge.export.synthesis import Synthesis
from edge.models.htdemucs import HTDemucs
from edge.models.transformer import CrossTransformer, positions_2d

TILES = 4
_BLOCK = 32  # positions are 32 i + j: two short tables and angle addition instead of one long table


class SpectralPositions(nn.Module):
    """x (1, F, T, C) + sinusoidal table, whose channels depend on the frame or on the row, never on both."""

    def __init__(self, net: CrossTransformer, freqs: int, frames: int):
        super().__init__()
        kept, half = net.pos.kept, net.dim // 2
        table = positions_2d(net.dim, freqs, frames, net.max_period).reshape(frames, freqs, net.dim)
        table = table * net.position_weight
        time, freq = table[:, 0].clone(), table[0].clone()
        time[:, half:], freq[:, :half] = 0, 0
        self.register_buffer("time", time[None, None, :, kept].reshape(1, 1, frames, -1))
        self.register_buffer("freq", freq[None, :, None, kept].reshape(1, freqs, 1, -1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.time + self.freq


class WavePositions(nn.Module):
    """x (1, L, C) + sinusoidal table sin((32 i + j) rate + phase), by angle addition."""

    def __init__(self, net: CrossTransformer, length: int):
        super().__init__()
        half, kept = net.dim // 2, net.pos_t.kept
        rate = net.max_period ** -(torch.arange(half, dtype=torch.float64) / (half - 1)).repeat(2)
        phase = torch.zeros(net.dim, dtype=torch.float64)
        phase[:half] = math.pi / 2  # cosines first
        coarse = torch.arange(0, length, _BLOCK)[:, None] * rate + phase
        fine = torch.arange(_BLOCK)[:, None] * rate
        weight = net.position_weight
        for name, table in (
            ("coarse_sin", coarse.sin() * weight),
            ("coarse_cos", coarse.cos() * weight),
            ("fine_cos", fine.cos()),
            ("fine_sin", fine.sin()),
        ):
            axis = 1 if name.startswith("fine") else 2
            self.register_buffer(name, table[:, kept].float()[None].unsqueeze(axis))
        self.length = length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = self.coarse_sin * self.fine_cos + self.coarse_cos * self.fine_sin
        return x + table.reshape(1, -1, x.shape[-1])[:, : self.length]


class LoweredHTDemucs(nn.Module):
    """mix (1, C, segment) -> stems (1, S, C, segment); equals `HTDemucs.forward` up to rounding.

    Static shapes, batch one, eval only. Tokens are kept in (frequency, time) order, which attention does not mind and
    channels-last memory already has.
    """

    def __init__(self, model: HTDemucs, segment: int, target: str):
        super().__init__()
        c = model.config
        self.target = target
        self.segment, self.nfft, self.hop = segment, c.nfft, c.nfft // 4
        self.frames = math.ceil(segment / self.hop)
        self.sources, self.channels = len(c.sources), c.audio_channels
        self.stft = STFT(c.nfft, self.frames, self.channels)
        self.standardize, self.standardize_t = Standardize(target), Standardize(target, self.hop)

        levels = len(model.encoder)
        tiles = [1 if i or c.context_enc else TILES for i in range(levels)]  # of the outermost, the largest
        self.encoder = nn.ModuleList(Encoder(layer, target, n) for layer, n in zip(model.encoder, tiles, strict=True))
        self.tencoder = nn.ModuleList(Encoder(layer, target) for layer in model.tencoder)
        tiles = [TILES if i == levels - 1 else 1 for i in range(levels)]
        self.decoder = nn.ModuleList(
            Decoder(layer, target, n, first=i == 0)
            for i, (layer, n) in enumerate(zip(model.decoder, tiles, strict=True))
        )
        if levels > 1:
            self.decoder[-1].take_upsampling(self.decoder[-2])
        self.tdecoder = nn.ModuleList(Decoder(layer, target, first=i == 0) for i, layer in enumerate(model.tdecoder))
        for layer, why in (
            (self.encoder[0].conv, "first convolution"),
            (self.tencoder[0].conv, "first convolution"),
            (self.tdecoder[-1].conv_tr, "last convolution"),
        ):
            for conv in layer.modules():
                conv.keep_float = why
        self.synthesis = Synthesis(as_conv_transpose2d(model.decoder[-1].conv_tr), c.nfft, self.frames)
        self.decoder[-1].conv_tr = nn.Identity()
        self.embedded = bool(c.freq_emb)
        if self.embedded:
            # contiguous: XNNPACK reads a constant's memory as it lies, whatever its strides say
            self.embedding = nn.Parameter(model.freq_emb.rows(model.embedding_scale).detach().contiguous())
        self.bottom = bool(c.bottom_channels) and c.t_layers > 0
        if self.bottom:
            self.up, self.up_t = as_conv2d(model.channel_upsampler), as_conv2d(model.channel_upsampler_t)
            self.down, self.down_t = as_conv2d(model.channel_downsampler), as_conv2d(model.channel_downsampler_t)
        self.transformed = c.t_layers > 0
        if self.transformed:
            net = model.crosstransformer
            freqs, length = c.nfft // 2 // c.stride**c.depth, segment
            for _ in range(c.depth):
                length = math.ceil(length / c.stride)
            self.norm, self.norm_t = LayerNorm(net.norm_in, target), LayerNorm(net.norm_in_t, target)
            self.pos, self.pos_t = SpectralPositions(net, freqs, self.frames), WavePositions(net, length)
            self.layers = nn.ModuleList(TransformerLayer(layer, target) for layer in net.layers)
            self.layers_t = nn.ModuleList(TransformerLayer(layer, target) for layer in net.layers_t)
        self.requires_grad_(False)
        self.eval()

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        length, channels = self.segment, self.channels
        half = FORMS[self.target].half
        mix = mix.half() if half else mix
        spec = self.stft(reflected_hops(mix, self.frames, self.hop))
        wave = mix.reshape(1, channels, 1, length)
        spec, spec_mean, spec_std = self.standardize(spec)
        wave, wave_mean, wave_std = self.standardize_t(wave)

        xt, x = self._core(wave, spec)

        hops = self.synthesis(x, spec_std, spec_mean)
        hops = hops.reshape(1, self.sources * channels, 1, (self.frames + 3) * self.hop)
        pad = self.hop // 2 * 3
        stems = hops[..., pad : pad + length] + (xt * wave_std + wave_mean)
        stems = stems.reshape(1, self.sources, channels, length)
        return stems.float() if half else stems

    def _core(self, xt: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        skips, skips_t, lengths = [], [], []
        for i, (encode, encode_t) in enumerate(zip(self.encoder, self.tencoder, strict=True)):
            lengths.append(xt.shape[-1])
            x, xt = encode(x), encode_t(xt)
            if i == 0 and self.embedded:
                x = x + self.embedding
            skips.append(x)
            skips_t.append(xt)
        if self.transformed:
            x, xt = self._transform(x, xt)
        # the waveform to its end first: nothing but its stems then lives beside the spectrogram's last level
        for decode_t in self.tdecoder:
            xt = decode_t(xt, skips_t.pop(), lengths.pop())
        for decode in self.decoder:
            x = decode(x, skips.pop())
        return xt, x

    def _transform(self, x: torch.Tensor, xt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.bottom:
            x, xt = self.up(x), self.up_t(xt)
        _, c, f, t = x.shape
        c_t, length = xt.shape[1], xt.shape[-1]
        x = self.norm(x.permute(0, 2, 3, 1).reshape(1, f * t, c))
        x = self.pos(x.reshape(1, f, t, c)).reshape(1, f * t, c)
        xt = self.pos_t(self.norm_t(xt.permute(0, 2, 3, 1).reshape(1, length, c_t)))
        for layer, layer_t in zip(self.layers, self.layers_t, strict=True):
            if layer.cross:
                x, xt = layer(x, xt), layer_t(xt, x)
            else:
                x, xt = layer(x), layer_t(xt)
        x = x.reshape(1, f, t, c).permute(0, 3, 1, 2)
        xt = xt.reshape(1, 1, length, c_t).permute(0, 3, 1, 2)
        return (self.down(x), self.down_t(xt)) if self.bottom else (x, xt)


def lower_htdemucs(model: HTDemucs, segment: int, target: str) -> LoweredHTDemucs:
    """The export form of `model` for segments of `segment` samples, for ONNX Runtime or ExecuTorch."""
    return LoweredHTDemucs(model, segment, target)
