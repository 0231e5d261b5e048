"""Tags and cover by mutagen: ID3 (MP3, WAV, AIFF), Vorbis comments (FLAC, Ogg) and MP4, in one vocabulary."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import mutagen
from mutagen import flac, id3, mp4, oggflac, oggopus, oggvorbis

Fields = dict[str, list[str]]
Cover = tuple[str, bytes] | None

_ID3 = {
    "TIT2": "title", "TPE1": "artist", "TALB": "album", "TPE2": "albumartist", "TCOM": "composer", "TCON": "genre",
    "TDRC": "date", "TRCK": "tracknumber", "TPOS": "discnumber", "TCOP": "copyright", "TBPM": "bpm", "TSRC": "isrc",
    "TPUB": "organization", "TLAN": "language", "TIT1": "grouping", "TIT3": "subtitle", "TPE3": "conductor",
    "TEXT": "lyricist", "TKEY": "initialkey", "TMOO": "mood",
}  # fmt: skip
_MP4 = {
    "\xa9nam": "title", "\xa9ART": "artist", "\xa9alb": "album", "aART": "albumartist", "\xa9wrt": "composer",
    "\xa9gen": "genre", "\xa9day": "date", "cprt": "copyright", "\xa9cmt": "comment", "\xa9lyr": "lyrics",
    "\xa9grp": "grouping", "desc": "description",
}  # fmt: skip
_PAIRS = {"trkn": "tracknumber", "disk": "discnumber"}
_FREE = "----:com.apple.iTunes:"
_FRONT = 3  # picture type: front cover
_PICTURE = "metadata_block_picture"
_MP4_IMAGES = {"image/jpeg": mp4.MP4Cover.FORMAT_JPEG, "image/png": mp4.MP4Cover.FORMAT_PNG}


def read_fields(path: Path) -> tuple[Fields, Cover]:
    """Nothing where there are no tags, or none that can be read."""
    try:
        with path.open("rb") as opened:  # a name that is no UTF-8 stays out of it
            file: Any = mutagen.File(opened)
    except (mutagen.MutagenError, OSError, ValueError, KeyError, IndexError):
        return {}, None
    if file is None:
        return {}, None
    if isinstance(file.tags, id3.ID3):
        return _from_id3(file.tags)
    if isinstance(file, mp4.MP4):
        return _from_mp4(file.tags or {})
    fields = {
        name.lower(): [str(value) for value in values] for name, values in (file.tags or {}).items() if _plain(values)
    }
    pictures = list(getattr(file, "pictures", []))
    for encoded in fields.pop(_PICTURE, []):
        with contextlib.suppress(ValueError, flac.error):
            pictures.append(flac.Picture(base64.b64decode(encoded)))
    pictures.sort(key=lambda picture: picture.type != _FRONT)
    return fields, (pictures[0].mime, pictures[0].data) if pictures else None


def _plain(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _from_id3(tags: id3.ID3) -> tuple[Fields, Cover]:
    fields: Fields = {}
    covers: list[Any] = []
    for frame in tags.values():
        if frame.FrameID in _ID3:
            fields.setdefault(_ID3[frame.FrameID], []).extend(map(str, frame.text))
        elif frame.FrameID == "TXXX":
            fields.setdefault(frame.desc.lower(), []).extend(map(str, frame.text))
        elif frame.FrameID == "COMM":
            fields.setdefault("comment", []).extend(map(str, frame.text))
        elif frame.FrameID == "USLT":
            fields.setdefault("lyrics", []).append(str(frame.text))
        elif frame.FrameID == "APIC":
            covers.append(frame)
    covers.sort(key=lambda frame: frame.type != _FRONT)
    return fields, (covers[0].mime, covers[0].data) if covers else None


def _from_mp4(tags: Any) -> tuple[Fields, Cover]:
    fields: Fields = {}
    for key, values in tags.items():
        if key in _MP4:
            fields[_MP4[key]] = [str(value) for value in values]
        elif key in _PAIRS:
            number, total = values[0]
            fields[_PAIRS[key]] = [f"{number}/{total}" if total else str(number)]
        elif key.startswith(_FREE):
            fields[key[len(_FREE) :].lower()] = [bytes(value).decode(errors="replace") for value in values]
        elif key == "tmpo":
            fields["bpm"] = [str(values[0])]
    covers = tags.get("covr")
    if not covers:
        return fields, None
    mime = next((m for m, format in _MP4_IMAGES.items() if format == covers[0].imageformat), "image/jpeg")
    return fields, (mime, bytes(covers[0]))


def write_fields(path: Path, extension: str, fields: Fields, cover: Cover) -> None:
    """Replace the tags of a finished file; raises OSError where the disk is full. Other formats stay as they are."""
    try:
        with path.open("r+b") as opened:
            file = _opened(opened, extension)
            if file is None:
                return
            if extension in (".mp3", ".wav", ".aiff"):
                if file.tags is None:
                    file.add_tags()
                _to_id3(file.tags, fields, cover)
            elif extension == ".m4a":
                _to_mp4(file, fields, cover)
            else:
                _to_vorbis(file, fields, cover)
            opened.seek(0)
            file.save(opened)
    except mutagen.MutagenError as error:
        cause = error.__cause__ or error.args[0] if error.args else error
        raise cause if isinstance(cause, OSError) else OSError(f"its tags: {error}") from error


def _opened(opened: Any, extension: str) -> Any:
    if extension == ".wav":
        head = opened.read(4)
        opened.seek(0)
        if head != b"RIFF":
            return None  # mutagen knows no RF64
    kind: Any = {".ogg": oggvorbis.OggVorbis, ".opus": oggopus.OggOpus}.get(extension)
    return kind(opened) if kind else mutagen.File(opened)


def _to_id3(tags: Any, fields: Fields, cover: Cover) -> None:
    frames = {name: frame for frame, name in _ID3.items()}
    for name, values in fields.items():
        if name in frames:
            tags.setall(frames[name], [getattr(id3, frames[name])(encoding=3, text=values)])
        elif name == "comment":
            tags.setall("COMM", [id3.COMM(encoding=3, lang="eng", desc="", text=values)])
        elif name in ("lyrics", "unsyncedlyrics"):
            tags.setall("USLT", [id3.USLT(encoding=3, lang="eng", desc="", text=values[0])])
        else:
            tags.add(id3.TXXX(encoding=3, desc=name, text=values))
    if cover:
        tags.setall("APIC", [id3.APIC(encoding=3, mime=cover[0], type=_FRONT, desc="", data=cover[1])])


def _to_mp4(file: Any, fields: Fields, cover: Cover) -> None:
    if file.tags is None:
        file.add_tags()
    atoms = {name: atom for atom, name in _MP4.items()}
    pairs = {name: atom for atom, name in _PAIRS.items()}
    for name, values in fields.items():
        if name in atoms:
            file.tags[atoms[name]] = values
        elif name in pairs:
            number, _, total = values[0].partition("/")
            if number.isdigit():
                file.tags[pairs[name]] = [(int(number), int(total) if total.isdigit() else 0)]
        else:
            file.tags[_FREE + name.upper()] = [value.encode() for value in values]
    if cover and cover[0] in _MP4_IMAGES:
        file.tags["covr"] = [mp4.MP4Cover(cover[1], _MP4_IMAGES[cover[0]])]


def _to_vorbis(file: Any, fields: Fields, cover: Cover) -> None:
    if file.tags is None:
        file.add_tags()
    for name, values in fields.items():
        with contextlib.suppress(ValueError):  # a name that a Vorbis comment cannot have
            file.tags[name] = values
    if cover is None:
        return
    picture = flac.Picture()
    picture.type, picture.mime, picture.data = _FRONT, *cover
    if isinstance(file, flac.FLAC):
        file.clear_pictures()
        file.add_picture(picture)
    elif isinstance(file, oggvorbis.OggVorbis | oggopus.OggOpus | oggflac.OggFLAC):
        tags = file.tags
        assert tags is not None
        tags[_PICTURE] = [base64.b64encode(picture.write()).decode()]
