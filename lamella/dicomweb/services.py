"""What web handlers work with, put on the application by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from lamella.imaging.pool import DecoderPool
from lamella.settings import Settings
from lamella.vcs.repository import Repository

if TYPE_CHECKING:
    from litestar import Request


@dataclass(frozen=True, slots=True)
class Services:
    """The house, as a web handler sees it."""

    repository: Repository
    settings: Settings
    decoders: DecoderPool = field(default_factory=DecoderPool)


def services_of(request: Request[Any, Any, Any]) -> Services:
    """Return the services of the application that a request came to."""
    return cast(Services, request.app.state["services"])
