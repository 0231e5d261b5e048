"""Results as files, whole or not at all: JSON, and what stands between two marks of a document."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.atomic import atomic_path
from edge.errors import InputError


@dataclass(frozen=True)
class Marks:
    """The two lines of a document between which something is made by a command."""

    begin: str
    end: str

    def inside(self, document: str) -> str:
        """The text between the marks; InputError where they are missing."""
        if self.begin not in document or self.end not in document:
            raise InputError(f"the marks {self.begin} and {self.end} are missing")
        return document.split(self.begin)[1].split(self.end)[0].strip()

    def replaced(self, document: str, content: str) -> str:
        """`document` with `content` between the marks; InputError where they are missing."""
        self.inside(document)
        return f"{document.split(self.begin)[0]}{self.begin}\n{content}\n{self.end}{document.split(self.end)[1]}"


def write_text(target: Path, text: str) -> None:
    """UTF-8; InputError where `target` is a folder."""
    if target.is_dir():
        raise InputError(f"{target} is a folder, not a file for the report")
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Each to the file of its name."""
    for name, text in texts.items():
        write_text(folder / name, text)


def as_json(content: Any) -> str:
    """A text with a line end; ValueError for numbers that JSON does not have."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_json(content: Any, target: Path | None) -> None:
    """To `target`, or to stdout where it is None."""
    if target is None:
        sys.stdout.write(as_json(content))
    else:
        write_text(target, as_json(content))


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds; InputError where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error})") from error


def read_as(format: str, path: Path, command: str) -> dict[str, Any]:
    """What `command` wrote to a JSON file that says `format`; InputError where the file is something else."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != format:
        raise InputError(f"{path} was not written by {command}")
    return content
