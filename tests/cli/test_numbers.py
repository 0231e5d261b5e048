"""Every number that a command takes is checked where it is given: no negative minutes that would never end."""

import argparse
import importlib

import pytest

COMMANDS = ["bench", "compress", "demo", "eval", "export", "run", "serve", "train"]


class Seen(Exception):
    pass


def numbers(parser: argparse.ArgumentParser):
    """(option, type) of every option that takes a number, of sub-commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from numbers(sub)
        elif action.type is not None and action.option_strings and is_number(action.type):
            yield action.option_strings[-1], action.type


def is_number(kind) -> bool:
    try:
        return isinstance(kind("1"), int | float)
    except Exception:
        return False


def parser_of(name: str, monkeypatch) -> argparse.ArgumentParser:
    """As the command builds it: it is caught when it would parse."""
    found = []

    def parse(self, *args, **kwargs):
        found.append(self)
        raise Seen

    for method in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, parse)
    with pytest.raises(Seen):
        importlib.import_module(f"edge.cli.{name}").main([])
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_numbers_have_limits(name, monkeypatch):
    for option, kind in numbers(parser_of(name, monkeypatch)):
        if option == "--prune":  # checked with a message of its own, see test_export
            continue
        for wrong in ("-5", "nan", "inf"):
            print(f"edge-{name} {option} {wrong}")
            with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                kind(wrong)
