"""Levels of the spectrogram branch in tiles of rows, so that only one tile's activations live at a time.

Their norms are per row, and only one convolution of a level reaches over rows: with the rows that it reaches, a tile
comes out as it does in the whole. A level's output is put together at its end.
"""

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


def tile_rows(convs: list[nn.Conv2d]) -> None:
    """Take the padding over rows from the convolutions that reach over rows: `in_tiles` gives them their rows."""
    for conv in convs:
        conv.padding = (0, conv.padding[1])  # type: ignore[assignment]


def in_tiles(
    level: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, conv: nn.Conv2d, padding: int, count: int
) -> torch.Tensor:
    """`level` of x (1, C, F, T) in `count` tiles of rows, each a multiple of its stride's worth.

    conv: the one of `level` that reaches over rows, without its `padding` of rows, which is zeros here too.
    """
    kernel, stride, rows = conv.kernel_size[0], conv.stride[0], x.shape[2]
    outputs = (rows + 2 * padding - kernel) // stride + 1
    bounds = [outputs * i // count for i in range(count + 1)]
    tiles = []
    for first, end in itertools.pairwise(bounds):
        start, stop = first * stride - padding, (end - 1) * stride - padding + kernel
        tile = x[:, :, max(start, 0) : min(stop, rows)]
        if start < 0 or stop > rows:
            tile = F.pad(tile, (0, 0, max(-start, 0), max(stop - rows, 0)))
        tiles.append(level(tile))
    return torch.cat(tiles, 2)
