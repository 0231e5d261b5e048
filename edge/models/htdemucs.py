"""HT Demucs, the hybrid transformer separator (Rouard et al. 2022, arXiv:2211.08553).

Our own network with exactly the parameter names of the released checkpoints, so that their state dicts load with
`strict=True`. This is the form that trains and is pruned; `edge.export` lowers it for on-device runtimes.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from edge.models.hybrid import DecoderLayer, EncoderLayer
from edge.models.spectrogram import istft, stft
from edge.models.transformer import CrossTransformer


@dataclass(frozen=True)
class HTDemucsConfig:
    """The part of the released configuration that shapes the network; defaults are those of `htdemucs`."""

    sources: tuple[str, ...] = ("drums", "bass", "other", "vocals")
    audio_channels: int = 2
    samplerate: int = 44100
    segment: Fraction = Fraction(39, 5)  # seconds
    channels: int = 48
    growth: int = 2
    nfft: int = 4096
    depth: int = 4
    kernel_size: int = 8
    stride: int = 4
    context: int = 1
    context_enc: int = 0
    freq_emb: float = 0.2
    emb_scale: float = 10.0
    dconv_mode: int = 3
    dconv_depth: int = 2
    dconv_comp: float = 8
    dconv_init: float = 1e-3
    bottom_channels: int = 512
    t_layers: int = 5
    t_hidden_scale: float = 4.0
    t_heads: int = 8
    t_cross_first: bool = False
    t_max_period: float = 10000.0
    t_weight_pos_embed: float = 1.0
    t_scale_init: float = 1e-4
    t_head_dim: int = 0  # trained width of a head; 0: the transformer's width / t_heads, as long as no head is pruned

    @property
    def segment_samples(self) -> int:
        return int(self.segment * self.samplerate)

    @property
    def sample_rate(self) -> int:
        return self.samplerate


# The last layer writes 64 values (4 sources, 2 channels, complex, stride 4) from `channels` inputs: with 16 it had
# room for two sources and left the others silent. Width is spent there, not on the inner levels.
HTDEMUCS_MINI = HTDemucsConfig(
    segment=Fraction(4),
    channels=48,
    growth=1,
    context=0,
    bottom_channels=128,
    dconv_comp=3,
    dconv_init=0.1,
    t_layers=3,
    t_heads=4,
    t_hidden_scale=2.0,
    t_scale_init=0.1,
)


class FrequencyEmbedding(nn.Module):
    """Learned offset of every frequency row after the first encoder layer."""

    def __init__(self, freqs: int, channels: int, scale: float):
        super().__init__()
        self.embedding = nn.Embedding(freqs, channels)
        weight = torch.cumsum(self.embedding.weight.data, 0) / torch.arange(1, freqs + 1).sqrt()[:, None]
        self.embedding.weight.data = weight / scale  # smooth along frequency at the start

    def rows(self, scale: float) -> torch.Tensor:
        """(1, C, F, 1), ready to add."""
        rows = self.embedding(torch.arange(self.embedding.num_embeddings, device=self.embedding.weight.device))
        return (rows * scale).t()[None, :, :, None]


class HTDemucs(nn.Module):
    """mix (B, C, L) float -> stems (B, S, C, L). L is any length above 3/8 nfft; it was trained at `segment`."""

    def __init__(self, config: HTDemucsConfig):
        super().__init__()
        self.config = c = config
        dconv = dict(depth=c.dconv_depth, compress=c.dconv_comp, init=c.dconv_init)
        widths = [c.channels * c.growth**i for i in range(c.depth)]
        self.encoder, self.tencoder = nn.ModuleList(), nn.ModuleList()
        self.decoder, self.tdecoder = nn.ModuleList(), nn.ModuleList()
        for branch, (enc, dec) in enumerate(((self.encoder, self.decoder), (self.tencoder, self.tdecoder))):
            freq = branch == 0
            audio = c.audio_channels * (2 if freq else 1)  # complex numbers are two channels
            for i, width in enumerate(widths):
                shared: dict[str, Any] = dict(kernel=c.kernel_size, stride=c.stride, freq=freq)
                enc.append(
                    EncoderLayer(
                        inputs=widths[i - 1] if i else audio,
                        outputs=width,
                        context=c.context_enc,
                        dconv=dconv if c.dconv_mode & 1 else None,
                        **shared,
                    )
                )
                dec.insert(
                    0,
                    DecoderLayer(
                        inputs=width,
                        outputs=widths[i - 1] if i else audio * len(c.sources),
                        context=c.context,
                        dconv=dconv if c.dconv_mode & 2 else None,
                        last=i == 0,
                        **shared,
                    ),
                )
        if c.freq_emb:
            self.freq_emb = FrequencyEmbedding(c.nfft // 2 // c.stride, widths[0], c.emb_scale)
        dim = c.bottom_channels or widths[-1]
        if c.bottom_channels:
            self.channel_upsampler = nn.Conv1d(widths[-1], dim, 1)
            self.channel_downsampler = nn.Conv1d(dim, widths[-1], 1)
            self.channel_upsampler_t = nn.Conv1d(widths[-1], dim, 1)
            self.channel_downsampler_t = nn.Conv1d(dim, widths[-1], 1)
        if c.t_layers:
            self.crosstransformer = CrossTransformer(
                dim,
                c.t_layers,
                c.t_heads,
                c.t_hidden_scale,
                c.t_cross_first,
                c.t_max_period,
                c.t_weight_pos_embed,
                c.t_scale_init,
                c.t_head_dim or dim // c.t_heads,
            )
        self._rescale(0.1)

    def _rescale(self, reference: float) -> None:
        """The released weight initialisation: pull every convolution's spread towards `reference`."""
        for m in self.modules():
            if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)):
                scale = (m.weight.std().detach() / reference) ** 0.5
                m.weight.data /= scale
                if m.bias is not None:
                    m.bias.data /= scale

    @property
    def embedding_scale(self) -> float:
        return self.config.freq_emb * self.config.emb_scale

    def core(self, xt: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The learned network between STFT and inverse STFT, on normalised inputs.

        xt: (B, C, L) waveform; x: (B, 2C, nfft/2, T) spectrogram. Returns (B, S*C, L) and (B, S*2C, nfft/2, T).
        """
        c = self.config
        skips, skips_t, lengths = [], [], []
        for i, (encode, encode_t) in enumerate(zip(self.encoder, self.tencoder, strict=True)):
            lengths.append(xt.shape[-1])
            x, xt = encode(x), encode_t(xt)
            if i == 0 and c.freq_emb:
                x = x + self.freq_emb.rows(self.embedding_scale)
            skips.append(x)
            skips_t.append(xt)
        if c.t_layers:
            b, _, f, t = x.shape
            if c.bottom_channels:
                x = self.channel_upsampler(x.flatten(2)).reshape(b, -1, f, t)
                xt = self.channel_upsampler_t(xt)
            x, xt = self.crosstransformer(x, xt)
            if c.bottom_channels:
                x = self.channel_downsampler(x.flatten(2)).reshape(b, -1, f, t)
                xt = self.channel_downsampler_t(xt)
        for decode, decode_t in zip(self.decoder, self.tdecoder, strict=True):
            x = decode(x, skips.pop())
            xt = decode_t(xt, skips_t.pop(), lengths.pop())
        return xt, x

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        b, channels, length = mix.shape
        spec = stft(mix, self.config.nfft)
        spec_mean, spec_std = spec.mean((1, 2, 3), keepdim=True), spec.std((1, 2, 3), keepdim=True)
        wave_mean, wave_std = mix.mean((1, 2), keepdim=True), mix.std((1, 2), keepdim=True)
        xt, x = self.core((mix - wave_mean) / (1e-5 + wave_std), (spec - spec_mean) / (1e-5 + spec_std))
        waves = xt * wave_std + wave_mean + istft(x * spec_std + spec_mean, length)
        return waves.reshape(b, -1, channels, length)
