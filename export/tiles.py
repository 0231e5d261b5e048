"""Levels of the spectrogram branch in tiles of rows, so that only one tile's activations live at a time.

Their norms are per row, and only one convolution of a level reaches over rows: with the rows that it reaches, a tile
comes out as it does in the whole. A level's output is put together at its end.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F


class Upsampled:
    """The output (1, C, F, T) of a transposed convolution without padding, made where it is cut out.

    axis: 2, the rows, or 3, time; its kernel there is no shorter than its stride. crop: values of it that are left out
    at both ends.
    """

    def __init__(self, conv: nn.ConvTranspose2d, x: torch.Tensor, crop: int, axis: int = 2):
        self.conv, self.x, self.crop, self.axis = conv, x, crop, axis
        self.kernel, self.stride = conv.kernel_size[axis - 2], conv.stride[axis - 2]
        self.size = (x.shape[axis] - 1) * self.stride + self.kernel - 2 * crop

    def cut(self, start: int, stop: int) -> torch.Tensor:
        first = max(0, -(-(start + self.crop + 1 - self.kernel) // self.stride))
        last = min(self.x.shape[self.axis] - 1, (stop - 1 + self.crop) // self.stride)
        made = self.conv(self.x.narrow(self.axis, first, last + 1 - first))
        return made.narrow(self.axis, start + self.crop - first * self.stride, stop - start)


class RowTiles:
    """Runs a level in `count` tiles of rows; with one, as it is.

    convs: what in it reaches over rows, alike. With more than one tile their padding of rows becomes that of the tiles.
    """

    def __init__(self, convs: Sequence[nn.Conv2d], count: int):
        self.count = count
        self.kernel, self.stride, self.padding = convs[0].kernel_size[0], convs[0].stride[0], int(convs[0].padding[0])
        if count > 1:
            for conv in convs:
                conv.padding = (0, conv.padding[1])  # type: ignore[assignment]

    def __call__(
        self, level: Callable[..., torch.Tensor], x: torch.Tensor, *others: torch.Tensor | Upsampled
    ) -> torch.Tensor:
        """`level` of inputs (1, C, F, T), of one height."""
        if self.count == 1:
            return level(x, *others)
        rows = x.shape[2]
        outputs = (rows + 2 * self.padding - self.kernel) // self.stride + 1
        tiles = []
        for first, end in bounds(outputs, self.count):
            start = first * self.stride - self.padding
            stop = (end - 1) * self.stride - self.padding + self.kernel
            within = max(start, 0), min(stop, rows)
            cut = [x[:, :, slice(*within)], *(_cut(other, *within) for other in others)]
            if start < 0 or stop > rows:
                cut = [F.pad(x, (0, 0, max(-start, 0), max(stop - rows, 0))) for x in cut]
            tiles.append(level(*cut))
        return torch.cat(tiles, 2)


def _cut(x: torch.Tensor | Upsampled, start: int, stop: int) -> torch.Tensor:
    return x.cut(start, stop) if isinstance(x, Upsampled) else x[:, :, start:stop]


def bounds(size: int, count: int) -> Iterator[tuple[int, int]]:
    """First and end of `count` parts of nearly one size."""
    return itertools.pairwise(size * i // count for i in range(count + 1))
