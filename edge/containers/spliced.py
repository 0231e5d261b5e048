"""A file as a decoder is to see it: stretches of the real one, with bytes of our own between them."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

Piece = bytes | tuple[int, int]  # bytes to insert, or the offsets [start, end) of a stretch of the file


class SplicedFile(io.RawIOBase):
    """The concatenation of `pieces` as a seekable, read-only binary file."""

    def __init__(self, path: Path, pieces: Sequence[Piece]):
        self._file = path.open("rb")
        self._pieces = list(pieces)
        self._starts = [0]
        for piece in self._pieces:
            self._starts.append(self._starts[-1] + length(piece))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[override]
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._at < self._starts[-1]:
            index = bisect_right(self._starts, self._at) - 1
            piece, inside = self._pieces[index], self._at - self._starts[index]
            count = min(len(view) - done, self._starts[index + 1] - self._at)
            if isinstance(piece, bytes):
                view[done : done + count] = piece[inside : inside + count]
            else:
                self._file.seek(piece[0] + inside)
                count = self._file.readinto(view[done : done + count])
                if count == 0:
                    break  # the file has become shorter meanwhile
            done += count
            self._at += count
        return done

    def close(self) -> None:
        self._file.close()
        super().close()


def length(piece: Piece) -> int:
    """Bytes of a piece."""
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
