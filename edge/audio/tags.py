"""Tags, cover and broadcast chunks of a recording, which go over to what is made of it.

libsndfile reads and writes the ten usual fields; mutagen (the `media` extra) all of them, and the cover.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import soundfile

from edge.audio.media import has_pyav, what_media
from edge.audio.reader import native

_NAMES = ("title", "artist", "album", "date", "genre", "comment", "copyright", "tracknumber", "license")
_CHUNKS = (b"bext", b"iXML")  # Broadcast Wave: who, when, time code; a field recorder's notes
_TIME_REFERENCE = 338  # offset in bext: samples since midnight, 64 bits
_LEVELS = ("replaygain_", "r128_", "itunnorm")  # true of the old audio only
_WAV_HEADS = (b"RIFF", b"RF64", b"BW64")


@dataclass(frozen=True)
class Tags:
    """fields: lower-case Vorbis names to values. cover: MIME type and image. chunks: of a WAV, name and content."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    cover: tuple[str, bytes] | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    lost: str | None = None  # what cannot go over here

    def name(self, file: soundfile.SoundFile) -> None:
        """Set libsndfile's fields of a file that is about to be written."""
        for name in _NAMES:
            if self.fields.get(name):
                with contextlib.suppress(soundfile.LibsndfileError):  # a field that the format lacks
                    setattr(file, name, self.fields[name][0])

    def write(self, path: Path, extension: str) -> None:
        """Into a finished file."""
        if extension == ".wav":
            _append_chunks(path, self.chunks)
        if (self.fields or self.cover) and importlib.util.find_spec("mutagen") is not None:
            from edge.audio.tagging import write_fields

            write_fields(path, extension, self.fields, self.cover)

    def started(self, frames: int) -> Tags:
        """For a result that starts `frames` later: the time reference moves along."""
        return replace(self, chunks=tuple((name, _moved(name, body, frames)) for name, body in self.chunks))


def read_tags(path: Path) -> Tags:
    """All that is found in `path`; what cannot be read is left out, as it is not the audio."""
    chunks = _chunks(path)
    if importlib.util.find_spec("mutagen") is not None:
        from edge.audio.tagging import read_fields

        fields, cover = read_fields(path)
        fields = _strings(path) | fields
        lost = None
    else:
        fields, cover = _strings(path), None
        lost = "its cover" if _has_cover(path) else None
    kept = {name: values for name, values in fields.items() if not name.startswith(_LEVELS)}
    return Tags(kept, cover, chunks, lost)


def _strings(path: Path) -> dict[str, list[str]]:
    try:
        with soundfile.SoundFile(native(path)) as file:
            found = {name: getattr(file, name) for name in _NAMES}
    except (soundfile.LibsndfileError, ValueError, TypeError, UnicodeDecodeError):
        found = _container_strings(path)
    return {name: [value] for name, value in found.items() if value}


def _container_strings(path: Path) -> dict[str, str]:
    if not what_media(path) or not has_pyav():
        return {}
    import av

    with contextlib.suppress(av.FFmpegError, ValueError), path.open("rb") as file:
        with av.open(file, "r", metadata_errors="ignore") as container:
            given = {name.lower(): value for name, value in container.metadata.items()}
        given["tracknumber"] = given.get("track", "")
        return {name: given.get(name, "") for name in _NAMES}
    return {}


def _has_cover(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1 << 20)
    return any(mark in head for mark in (b"APIC", b"METADATA_BLOCK_PICTURE", b"covr", b"image/jpeg", b"image/png"))


def _chunks(path: Path) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] not in _WAV_HEADS or head[8:] != b"WAVE":
            return ()
        at, wide = 12, 0
        while at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"ds64":
                file.seek(at + 16)
                wide = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
            if name == b"data" and length == 0xFFFFFFFF and wide:
                length = wide
            if name in _CHUNKS and at + 8 + length <= size:
                found.append((name, file.read(length)))
            at += 8 + length + length % 2
    return tuple(found)


def _append_chunks(path: Path, chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    """Behind the samples; the sizes in front are put right."""
    if not chunks:
        return
    with path.open("r+b") as file:
        head = file.read(28)
        end = file.seek(0, os.SEEK_END)
        file.write(b"\0" * (end % 2))
        for name, body in chunks:
            file.write(struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2))
        size = file.tell() - 8
        if head[:4] == b"RF64":
            file.seek(20)
            file.write(struct.pack("<Q", size))
        else:
            file.seek(4)
            file.write(struct.pack("<I", size))


def _moved(name: bytes, body: bytes, frames: int) -> bytes:
    if name != b"bext" or len(body) < _TIME_REFERENCE + 8:
        return body
    at = slice(_TIME_REFERENCE, _TIME_REFERENCE + 8)
    return body[: at.start] + struct.pack("<Q", struct.unpack("<Q", body[at])[0] + frames) + body[at.stop :]
