"""The devices of a PulseAudio or PipeWire server by the names that people know; PortAudio only has one "pulse"."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from edge.errors import InputError

SECONDS = 3  # for the server to answer
THROUGH = "pulse"  # PortAudio's device that leads to the server
_ROUTES = {"input": "PULSE_SOURCE", "output": "PULSE_SINK"}  # where libpulse looks for the device to use


@dataclass(frozen=True)
class ServerDevice:
    """A source (`kind` "input") or sink ("output") of the sound server; `rate` in Hz."""

    kind: str
    name: str
    description: str
    rate: int
    channels: int
    default: bool


def server_devices() -> list[ServerDevice]:
    """What the sound server has, the defaults first; empty where there is no server, or no pactl to ask it."""
    info, sources, sinks = _ask("info"), _ask("list", "sources"), _ask("list", "sinks")
    if not isinstance(info, dict):
        return []
    found = []
    for kind, entries, default in (
        ("input", sources, info.get("default_source_name")),
        ("output", sinks, info.get("default_sink_name")),
    ):
        for entry in entries if isinstance(entries, list) else []:
            name, form = entry["name"], entry.get("sample_specification", "")
            channels, rate = re.search(r"(\d+)ch", form), re.search(r"(\d+)Hz", form)
            found.append(
                ServerDevice(
                    kind,
                    name,
                    entry.get("description") or name,
                    int(rate[1]) if rate else 0,
                    int(channels[1]) if channels else 0,
                    name == default,
                )
            )
    return sorted(found, key=lambda device: (device.kind, not device.default))


def table(devices: list[ServerDevice]) -> str:
    """A line for each; `*` marks the defaults."""
    lines = []
    for device in devices:
        mark = "*" if device.default else " "
        lines.append(f"{mark} {device.kind:6}  {device.rate:6} Hz  {device.channels} ch  {device.description}")
    return "\n".join(lines)


def route(text: str, kind: str, devices: list[ServerDevice]) -> str:
    """What PortAudio is to open for a device that the user names: its own name, or THROUGH the server.

    A server's device is known by its name or a part of its description. Raises InputError where several are meant.
    """
    of_kind = [device for device in devices if device.kind == kind]
    exact = [device for device in of_kind if text in (device.name, device.description)]
    part = [device for device in of_kind if text.lower() in f"{device.description}\n{device.name}".lower()]
    meant = exact or part
    if text == THROUGH or not meant:
        return text
    if len(meant) > 1:
        names = ", ".join(device.description for device in meant)
        raise InputError(f"--{kind} {text} may be any of {names}: give more of its name")
    os.environ[_ROUTES[kind]] = meant[0].name
    return THROUGH


def _ask(*what: str) -> Any:
    """pactl's answer, None where there is none."""
    pactl = shutil.which("pactl")
    if pactl is None:
        return None
    try:
        done = subprocess.run([pactl, "--format=json", *what], capture_output=True, timeout=SECONDS, check=True)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None  # no server, or a pactl before JSON
