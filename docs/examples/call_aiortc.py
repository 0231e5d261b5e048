"""A noisy recording through a real peer connection on this machine, enhanced where it arrives.

python call_aiortc.py BUNDLE noisy.wav clean.wav
"""

import asyncio
import sys

from aiortc import RTCPeerConnection
from aiortc.contrib.media import MediaPlayer, MediaRecorder

from edge.calls.aiortc_track import EnhancedTrack
from edge.calls.stream import CallModel


async def call(bundle: str, noisy: str, clean: str) -> None:
    model = CallModel(bundle)
    sender, receiver = RTCPeerConnection(), RTCPeerConnection()
    player, recorder = MediaPlayer(noisy), MediaRecorder(clean)
    ended = asyncio.Event()

    @receiver.on("track")
    def on_track(track):
        recorder.addTrack(EnhancedTrack(track, model))

    player.audio.on("ended", ended.set)
    sender.addTrack(player.audio)
    await sender.setLocalDescription(await sender.createOffer())
    await receiver.setRemoteDescription(sender.localDescription)
    await receiver.setLocalDescription(await receiver.createAnswer())
    await sender.setRemoteDescription(receiver.localDescription)
    await recorder.start()
    await ended.wait()
    await asyncio.sleep(0.5)  # what is under way
    await recorder.stop()
    await asyncio.gather(sender.close(), receiver.close())
    model.close()


if __name__ == "__main__":
    asyncio.run(call(*sys.argv[1:4]))
