"""The channels of a recording as those of a model."""

from __future__ import annotations

import numpy as np

_3_DB = float(np.sqrt(0.5))
_LEFT, _RIGHT, _BOTH, _NONE = (1.0, 0.0), (0.0, 1.0), (_3_DB, _3_DB), (0.0, 0.0)
_SIDES = (_3_DB, 0.0), (0.0, _3_DB)

# ITU-R BS.775 in the order of WAV: left, right, centre, low frequencies (left away), back, side.
_DOWNMIX = {
    3: (_LEFT, _RIGHT, _BOTH),
    4: (_LEFT, _RIGHT, *_SIDES),
    5: (_LEFT, _RIGHT, _BOTH, *_SIDES),
    6: (_LEFT, _RIGHT, _BOTH, _NONE, *_SIDES),
    7: (_LEFT, _RIGHT, _BOTH, _NONE, (0.5, 0.5), *_SIDES),
    8: (_LEFT, _RIGHT, _BOTH, _NONE, *_SIDES, *_SIDES),
}


def mapped(block: np.ndarray, channels: int) -> np.ndarray:
    """float32 (n, any) to (n, channels): mono is repeated, 3 to 8 channels are mixed down to two or one.

    Of layouts that nobody knows the first channels are taken.
    """
    given = block.shape[1]
    if given == channels:
        return block
    if given == 1:
        return np.repeat(block, channels, axis=1)
    if given in _DOWNMIX and channels <= 2:
        block = block @ np.array(_DOWNMIX[given], np.float32)
    if channels == 1:
        return block[:, :2].mean(axis=1, keepdims=True)
    return block[:, :channels] if block.shape[1] >= channels else np.pad(block, ((0, 0), (0, channels - given)))


def mapping_note(given: int, channels: int) -> str | None:
    """What a user should know of it; None where nothing is lost."""
    if given <= channels or (given == 2 and channels == 1):
        return None
    if given in _DOWNMIX and channels <= 2:
        return f"{given} channels are mixed down to {channels} (ITU-R BS.775)"
    return f"the first {channels} of {given} channels are taken"
