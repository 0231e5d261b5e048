"""The fuzzers' targets on their seeds and on damaged ones: what a reader cannot read, it says in its own words."""

import io
import random
import zipfile

import pytest
from targets import TARGETS


def damaged(seed: bytes, rng: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.randint(1, 8)):
        where = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[where] = rng.randrange(256)
        elif kind == 1:
            del data[where : where + rng.randint(1, 40)]
        elif kind == 2:
            data[where:where] = data[rng.randrange(len(data)) :][: rng.randint(1, 40)]
        else:
            data[where : where + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"))
        if not data:
            return b""
    return bytes(data)


def _zip_with_a_name_that_is_no_text() -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("né.json", "{}")
    return buffer.getvalue().replace("é".encode(), b"\xb5\xb5")


# found by the fuzzers
FOUND = [
    ("bundle", _zip_with_a_name_that_is_no_text()),
    ("checkpoint", b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little")),  # bytes of any length that a pickle claims
    ("checkpoint", b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little")),  # text
    ("checkpoint", b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little")),  # a frame
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_stays_mended(name, data):
    TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_ends_in_the_projects_own_errors(name):
    target, rng = TARGETS[name], random.Random(0)
    for seed in target.seeds():
        target.run(seed)
        for _ in range(25):
            target.run(damaged(seed, rng))
