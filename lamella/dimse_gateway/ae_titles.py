"""Called AE titles, and the branch or frozen revision that each one stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lamella.settings import Settings
from lamella.vcs.refs import DEFAULT_BRANCH, DEFAULT_DATASET


@dataclass(frozen=True, slots=True)
class AeTarget:
    """Where an association lands.

    Attributes:
        dataset: A dataset's name.
        revision: A branch, or a tag or commit, which can be read but not stored to.
    """

    dataset: str
    revision: str


class AeTitles(Protocol):
    """Knows the AE titles under which this installation can be called."""

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        """Return what a called AE title stands for; None if it is not one of ours."""
        ...


class ConfiguredAeTitles:
    """The one AE title of the settings: `default@main`."""

    def __init__(self, settings: Settings) -> None:
        self._title = settings.aet.strip()

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        """Return what a called AE title stands for; None if it is not one of ours.

        Source:
            PS3.5 §6.2 (AE: leading and trailing spaces are not significant).
        """
        if title.strip() != self._title:
            return None
        return AeTarget(DEFAULT_DATASET, DEFAULT_BRANCH)
