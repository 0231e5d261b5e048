"""Ogg (RFC 3533): chained recordings, pages that are missing, an end that was never written."""

from __future__ import annotations

import struct
from mmap import mmap

from edge.containers.layout import Layout, Part, Truncated

_BEGIN, _END = 2, 4


def layout(data: mmap) -> Layout:
    """The links of the chain. Raises Truncated where the last page is incomplete or pages are missing."""
    starts: list[int] = []  # of the links
    next_page: dict[int, int] = {}  # by stream
    at, begun, ended = 0, False, False
    while at < len(data):
        if data[at : at + 4] != b"OggS":
            following = data.find(b"OggS", at)
            if following < 0:
                break  # a tag, say
            at = following
        if at + 27 > len(data):
            raise Truncated("the last Ogg page is incomplete")
        flags, stream, number = data[at + 5], *struct.unpack("<II", data[at + 14 : at + 22])
        table = data[at + 27 : at + 27 + data[at + 26]]
        end = at + 27 + data[at + 26] + sum(table)
        if end > len(data):
            raise Truncated("the last Ogg page is incomplete")
        begins = bool(flags & _BEGIN)
        if begins and not begun:  # several streams may begin together
            starts.append(at)
            next_page.clear()
        elif not begins and number != next_page.get(stream, number):
            raise Truncated(f"Ogg pages are missing before byte {at}")
        next_page[stream] = number + 1
        begun, ended = begins, bool(flags & _END)
        at = end
    if not starts:
        raise Truncated("the Ogg stream has no first page")
    notes = []
    if not ended:
        notes.append("the Ogg stream has no end: the recording may have been cut off there")
    if len(starts) > 1:
        notes.append(f"{len(starts)} recordings are chained in the file; all are read")
    parts = tuple(Part(((start, end),)) for start, end in zip(starts, [*starts[1:], len(data)], strict=True))
    return Layout(parts, tuple(notes), honest=len(parts) == 1)
