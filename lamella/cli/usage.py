"""Wrong usage: what ends a command with exit status 2."""

from __future__ import annotations

from lamella.errors import InvalidRequest


class UsageError(InvalidRequest):
    """The command line asks for something that no command can mean."""

    title = "Wrong usage"
