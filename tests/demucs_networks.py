"""Small networks of the demucs package, seeded and random, and what its own command and our separator make of a mix."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from edge.runtime.streams import Separator, Statistics

demucs = pytest.importorskip("demucs.htdemucs")
omegaconf = pytest.importorskip("omegaconf")

SMALL = dict(channels=4, bottom_channels=16, t_layers=2, t_heads=4, dconv_mode=3, dconv_comp=2, segment=Fraction(2, 5))
KARAOKE = ["other", "vocals"]


def build(sources=KARAOKE, **over):
    torch.manual_seed(0)
    model = demucs.HTDemucs(sources, **{**SMALL, **over}).eval()
    for name, value in model.named_parameters():  # fresh residual branches are nearly silent
        if name.endswith(".scale"):
            value.data.uniform_(0.3, 1)
    return model


def package(model, **over):
    from demucs.states import serialize_model

    return {**serialize_model(model, omegaconf.OmegaConf.create({"seed": 1}), half=False), **over}


def mixture(model, seconds=0.53):
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(model.audio_channels, int(seconds * model.samplerate), generator=generator)
    return 0.1 * mix + 0.02


def by_demucs(model, mix):
    """The stems by name, as demucs' own command makes them."""
    from demucs.apply import apply_model

    reference = mix.mean(0)
    normalised = (mix - reference.mean()) / (reference.std() + 1e-8)
    with torch.inference_mode():
        stems = apply_model(model, normalised[None], shifts=0, split=True, overlap=0.25)[0]
    return dict(zip(model.sources, (stems * (reference.std() + 1e-8) + reference.mean()).numpy(), strict=True))


def separate(interface, graph, mix):
    statistics = Statistics()
    statistics.update(mix.T)
    stream = Separator(interface, graph, statistics.mean, statistics.std)
    return np.concatenate([stream.process(mix), stream.flush()], axis=-1)
