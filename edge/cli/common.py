"""The former place of edge.console."""

from edge.console import *  # noqa: F403
