"""What a check of doctor answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is: `warn` works but not well, `fail` does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The answer of one check.

    Attributes:
        name: What was checked.
        sentence: What was found, and what to do about it.
    """

    name: str
    status: Status
    sentence: str


def pass_with(name: str, sentence: str) -> CheckResult:
    """Return a result that is fine."""
    return CheckResult(name, Status.OK, sentence)


def warn_with(name: str, sentence: str) -> CheckResult:
    """Return a result that a person should know of."""
    return CheckResult(name, Status.WARN, sentence)


def fail_with(name: str, sentence: str) -> CheckResult:
    """Return a result that keeps Lamella from working."""
    return CheckResult(name, Status.FAIL, sentence)
