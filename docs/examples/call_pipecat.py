"""A noisy recording through the filter, in the pieces in which a Pipecat transport would bring it.

python call_pipecat.py BUNDLE noisy.wav clean.wav
"""

import asyncio
import sys

import soundfile

from edge.calls.pipecat_filter import EnhancingFilter
from edge.calls.stream import CallModel


async def run(bundle: str, noisy: str, clean: str) -> None:
    model = CallModel(bundle)
    audio, rate = soundfile.read(noisy, dtype="int16", always_2d=True)
    filter = EnhancingFilter(model)  # in a call: TransportParams(audio_in_filter=filter)
    await filter.start(rate)
    with soundfile.SoundFile(clean, "w", rate, 1, "PCM_16") as out:
        for start in range(0, len(audio), rate // 50):
            piece = audio[start : start + rate // 50, 0]
            out.buffer_write(await filter.filter(piece.tobytes()), dtype="int16")
    await filter.stop()
    model.close()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:4]))
