"""HT Demucs as a graph: one segment."""

from __future__ import annotations

from typing import Any

from torch import nn

from edge.errors import InputError
from edge.export.architectures.record import Lowering
from edge.export.lower_htdemucs import lower_htdemucs
from edge.export.stem_names import stem_names
from edge.interface import Interface, separation_interface

MAX_SECONDS = 60


def interface(network: Any, seconds: float | None = None) -> Interface:
    """Raises InputError for a network of which no graph can be made, a segment below its window or above a minute."""
    c = network.config
    if c.nfft % 16 or c.stride != 4:
        wanted = "nfft must be a multiple of 16 and stride 4 (with a kernel_size of 8)"
        raise InputError(f"no graph can be made of a network with nfft={c.nfft} and stride={c.stride}: {wanted}")
    segment = c.segment_samples if seconds is None else int(c.samplerate * seconds)  # as demucs rounds
    if seconds is None and segment < c.nfft:
        raise InputError(f"the network's own segment is shorter than its window of {c.nfft} samples; give --segment")
    if seconds is not None and not c.nfft <= segment <= MAX_SECONDS * c.samplerate:
        raise InputError(f"--segment must lie between {c.nfft / c.samplerate:.2f} and {MAX_SECONDS} seconds")
    return separation_interface(stem_names(c.sources), c.samplerate, c.audio_channels, segment)


def lower(network: Any, segment: int | None, target: Any) -> nn.Module:
    assert segment is not None
    return lower_htdemucs(network, segment, target)


# its element-wise steps cost more than its products
HTDEMUCS = Lowering(interface, lower, half_pays=True)
