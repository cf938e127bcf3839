"""How a check ends when it does not simply pass.

LamellaError
└── CheckEnded
    ├── CheckFailed     the server did something else than it has to
    ├── NotOffered      the server does without what is optional
    └── NotRun          this run cannot ask: read-only, or a sample that could not be stored
"""

from __future__ import annotations

from enum import StrEnum

from lamella.conformance.exchange import Reply
from lamella.errors import LamellaError


class Verdict(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    NOT_RUN = "not run"


class CheckEnded(LamellaError):
    """A check came to its end early."""

    title = "Check ended"


class CheckFailed(CheckEnded):
    """The server did not do what it has to.

    Attributes:
        expected: What it should have done.
        got: What it did.
        reply: The answer that shows it.
    """

    title = "Check failed"

    def __init__(self, reply: Reply | None, expected: str, got: str) -> None:
        super().__init__(f"Expected {expected}; got {got}.")
        self.reply, self.expected, self.got = reply, expected, got


class NotOffered(CheckEnded):
    """The server does not offer what the check is about, and need not."""

    title = "Not offered"


class NotRun(CheckEnded):
    """The check cannot be asked in this run."""

    title = "Not run"
