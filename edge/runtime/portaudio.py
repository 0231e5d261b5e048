"""The sound devices that PortAudio and the sound server know: their names, and the rate and channels they agree on."""

from __future__ import annotations

import contextlib
import ctypes
from types import ModuleType

from edge.errors import EdgeError, InputError
from edge.runtime.soundserver import THROUGH, ServerDevice, route, server_devices, table

USUAL_RATES = (48000, 44100, 96000, 32000, 16000)
NO_PORTAUDIO = "PortAudio is missing: install it (Debian and Ubuntu: apt install libportaudio2)"


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
def _say_nothing(file: bytes, line: int, function: bytes, code: int, form: bytes) -> None:
    """What ALSA has to say of devices that are not there."""


def portaudio() -> ModuleType:
    """The sounddevice module; EdgeError where PortAudio is not installed."""
    with contextlib.suppress(OSError, AttributeError):  # no ALSA here
        # it writes to stderr whatever PortAudio tries in vain, into the status line
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_say_nothing)
    try:
        import sounddevice
    except OSError as error:
        raise EdgeError(NO_PORTAUDIO) from error
    return sounddevice


def list_devices() -> str:
    """Tables of the sound server's devices, and of PortAudio's: `>` marks the default input, `<` the default output."""
    own = str(portaudio().query_devices()) or "no sound devices"
    devices = _server_devices()
    if not devices:
        return own
    return f"by name, of the sound server:\n{table(devices)}\n\nby name or number, of PortAudio:\n{own}"


def parse_device(text: str | None, kind: str) -> int | str | None:
    """A device as the user names it for `kind` ("input", "output"): its number, or a part of its name.

    A sound server's device is routed to. Raises InputError for a name that several devices have.
    """
    if text is None or text.isdigit():
        return None if text is None else int(text)
    return route(text, kind, _server_devices())


def _server_devices() -> list[ServerDevice]:
    """Those of the sound server, where PortAudio leads there."""
    through = any(device["name"] == THROUGH for device in portaudio().query_devices())
    return server_devices() if through else []


def negotiate(
    model_rate: int, source: int | str | None, target: int | str | None, inputs: int, outputs: int
) -> tuple[int, int, int]:
    """Rate, channels in and channels out that both devices take, as near to what is asked for as they allow.

    The model's rate comes first, then the output's own, the input's own and the usual ones. A device of fewer channels
    gives or takes what it has. `inputs` 0: nothing is captured. Raises InputError for an unknown device, and where
    there is no common rate.
    """
    sound = portaudio()
    try:
        out = sound.query_devices(target, "output")
        asked = [(sound.check_output_settings, target, min(outputs, out["max_output_channels"]))]
        own = [out["default_samplerate"]]
        if inputs:
            given = sound.query_devices(source, "input")
            asked.append((sound.check_input_settings, source, min(inputs, given["max_input_channels"])))
            own.append(given["default_samplerate"])
    except (ValueError, sound.PortAudioError) as error:
        raise InputError(f"no such sound device: {one_line(error)}; --list-devices shows them") from error
    rates = list(dict.fromkeys([model_rate, *map(int, own), *USUAL_RATES]))
    for rate in rates:
        with contextlib.suppress(sound.PortAudioError, ValueError):
            for check, device, channels in asked:
                check(device=device, channels=channels, dtype="float32", samplerate=rate)
            return rate, asked[1][2] if inputs else 0, asked[0][2]
    raise InputError(
        f"the devices have no rate in common at which they take {inputs} channel(s) in and {outputs} out; tried "
        f"{', '.join(map(str, rates))} Hz"
    )


def one_line(error: BaseException) -> str:
    """What PortAudio says, without its line breaks."""
    return " ".join(str(error).split())
