"""Python: the version that Lamella is made for."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence

from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

LOWEST = (3, 11)
NEXT_UNTESTED = (3, 14)


async def check_python_version(_settings: Settings) -> Sequence[CheckResult]:
    """Check the interpreter."""
    version = platform.python_version()
    if sys.version_info < LOWEST:
        return [fail_with("python", f"Python {version} is too old: 3.11 or newer is needed.")]
    if sys.version_info >= NEXT_UNTESTED:
        return [warn_with("python", f"Python {version} is newer than what Lamella is tested on.")]
    return [pass_with("python", f"Python {version}.")]
