"""A noisy recording through the frame processor, in the frames in which LiveKit would bring it.

python call_livekit.py BUNDLE noisy.wav clean.wav
"""

import sys

import soundfile
from livekit import rtc

from edge.calls.livekit_processor import EnhancingProcessor
from edge.calls.stream import CallModel


def run(bundle: str, noisy: str, clean: str) -> None:
    model = CallModel(bundle)
    processor = EnhancingProcessor(model)  # in a call: rtc.AudioStream(track, noise_cancellation=processor)
    audio, rate = soundfile.read(noisy, dtype="int16", always_2d=True)
    channels, size = audio.shape[1], rate // 100
    with soundfile.SoundFile(clean, "w", rate, channels, "PCM_16") as out:
        for start in range(0, len(audio) - size + 1, size):
            frame = rtc.AudioFrame(audio[start : start + size].tobytes(), rate, channels, size)
            out.buffer_write(bytes(processor._process(frame).data), dtype="int16")
    model.close()


if __name__ == "__main__":
    run(*sys.argv[1:4])
