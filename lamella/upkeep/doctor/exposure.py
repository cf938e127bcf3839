"""Exposure: is a door open to the network that nothing guards?"""

from __future__ import annotations

from collections.abc import Sequence

from lamella.errors import InvalidRequest
from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

NAME = "exposure"


async def check_exposure(settings: Settings) -> Sequence[CheckResult]:
    """Check binds against authentication, as `lamella serve` will."""
    try:
        settings.check_exposure()
    except InvalidRequest as error:
        return [fail_with(NAME, error.detail)]
    dimse = settings.dimse_address
    if settings.http_address.is_loopback and (dimse is None or dimse.is_loopback):
        return [pass_with(NAME, "Both doors are open to this machine alone.")]
    if settings.insecure:
        return [warn_with(NAME, "A door is open to the network unguarded (LAMELLA_INSECURE=1).")]
    return [pass_with(NAME, "What is open to the network is guarded.")]
