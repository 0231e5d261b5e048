"""The two ways in which a command can fail: each carries its exit code and one line for the user."""


class EdgeError(Exception):
    """The work could not be done (full disk, a graph that does not run): exit code 1."""

    exit_code = 1


class InputError(EdgeError):
    """Bad use or bad input (file, bundle, checkpoint, option): exit code 2."""

    exit_code = 2
