"""What a check is, and how a module lists its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.conformance.probe import Probe

Run = Callable[["Probe"], None]


class Level(StrEnum):
    """How much a failure weighs."""

    SHALL = "shall"
    SHOULD = "should"
    PRACTICE = "practice"


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a server.

    Attributes:
        id: `group/name`; stable from release to release.
        title: What a server does that passes, as a sentence.
        section: Where the standard says so.
        rules: Numbers of the rules of docs/conformance.md that it covers.
        run: Returns if the server does right; raises what `outcomes` lists if not.
    """

    id: str
    title: str
    section: str
    level: Level
    rules: tuple[int, ...]
    run: Run

    @property
    def group(self) -> str:
        """The subject it belongs to."""
        return self.id.partition("/")[0]


class Group:
    """The checks of one subject, in order.

    Attributes:
        name: First part of its checks' ids.
        title: A few words for reports.
        checks: Filled as a module is imported.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.checks: list[Check] = []

    def add(
        self, level: Level, name: str, title: str, section: str, rules: tuple[int, ...], run: Run
    ) -> None:
        """Add a check."""
        self.checks.append(Check(f"{self.name}/{name}", title, section, level, rules, run))

    def shall(self, name: str, title: str, section: str, *rules: int) -> Callable[[Run], Run]:
        """Add the decorated function as something the standard demands."""
        return self._decorate(Level.SHALL, name, title, section, rules)

    def should(self, name: str, title: str, section: str, *rules: int) -> Callable[[Run], Run]:
        """Add the decorated function as something the standard recommends."""
        return self._decorate(Level.SHOULD, name, title, section, rules)

    def practice(self, name: str, title: str, section: str, *rules: int) -> Callable[[Run], Run]:
        """Add the decorated function as something that clients need."""
        return self._decorate(Level.PRACTICE, name, title, section, rules)

    def _decorate(
        self, level: Level, name: str, title: str, section: str, rules: tuple[int, ...]
    ) -> Callable[[Run], Run]:
        def decorate(run: Run) -> Run:
            self.add(level, name, title, section, rules, run)
            return run

        return decorate
