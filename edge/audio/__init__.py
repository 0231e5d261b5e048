"""Audio files of any kind, rate and channel count as float32 blocks, and back; memory is flat in their length."""

from edge.audio.reader import BLOCK_FRAMES, MAX_RATE, MIN_RATE, AudioReader
from edge.audio.resampler import Resampler
from edge.audio.writer import OUTPUT_FORMATS, AudioWriter, output_format

__all__ = [
    "BLOCK_FRAMES",
    "MAX_RATE",
    "MIN_RATE",
    "OUTPUT_FORMATS",
    "AudioReader",
    "AudioWriter",
    "Resampler",
    "output_format",
]
