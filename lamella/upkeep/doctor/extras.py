"""Extras: packages that only some settings need."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with

NAME = "extras"

EXTRAS: dict[str, tuple[str, ...]] = {
    "postgresql": ("asyncpg",),
    "s3": ("aioboto3", "obstore"),
    "auth": ("jwt", "cryptography"),
    "redis": ("dramatiq", "redis"),
    "clients": ("dicomweb_client",),
}


async def check_extras(settings: Settings) -> Sequence[CheckResult]:
    """Check that what the settings ask for is installed; name what else is."""
    installed = [
        name for name, modules in EXTRAS.items() if all(find_spec(module) for module in modules)
    ]
    needed = {"postgresql"} if settings.database_url.startswith("postgres") else set()
    if settings.storage_url.startswith("s3:"):
        needed.add("s3")
    if settings.dimse_jwt:
        needed.add("auth")
    if settings.redis_url:
        needed.add("redis")
    missing = sorted(needed - set(installed))
    if missing:
        return [fail_with(NAME, f"These settings need an extra: install lamella[{missing[0]}].")]
    rest = sorted(set(EXTRAS) - set(installed))
    sentence = f"Installed: {', '.join(installed) or 'none'}."
    if rest:
        sentence += f" Not installed, and not needed by these settings: {', '.join(rest)}."
    return [pass_with(NAME, sentence)]
