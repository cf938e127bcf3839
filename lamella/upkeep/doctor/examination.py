"""Running all checks at once, each with little time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from lamella.settings import Settings
from lamella.upkeep.doctor.clock import check_clock
from lamella.upkeep.doctor.codecs import check_codecs
from lamella.upkeep.doctor.data_folder import check_data_folder
from lamella.upkeep.doctor.database import check_database
from lamella.upkeep.doctor.exposure import check_exposure
from lamella.upkeep.doctor.extras import check_extras
from lamella.upkeep.doctor.file_system import check_file_system
from lamella.upkeep.doctor.free_space import check_free_space
from lamella.upkeep.doctor.pack_store import check_pack_store
from lamella.upkeep.doctor.ports import check_ports
from lamella.upkeep.doctor.python_version import check_python_version
from lamella.upkeep.doctor.redis_server import check_redis
from lamella.upkeep.doctor.result import CheckResult, fail_with
from lamella.upkeep.doctor.server import check_server

TIMEOUT_S = 2.5
FAR_TIMEOUT_S = 30.0
FAR = frozenset({"packs"})  # which may be in S3; that check has bounds of its own for each request

Check = Callable[[Settings], Awaitable[Sequence[CheckResult]]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("python", check_python_version),
    ("data folder", check_data_folder),
    ("file system", check_file_system),
    ("free space", check_free_space),
    ("database", check_database),
    ("packs", check_pack_store),
    ("redis", check_redis),
    ("server", check_server),
    ("ports", check_ports),
    ("exposure", check_exposure),
    ("codecs", check_codecs),
    ("extras", check_extras),
    ("clock", check_clock),
)


async def examine(settings: Settings) -> list[CheckResult]:
    """Run all checks; a check that breaks or is late is a failed one."""
    answers = await asyncio.gather(
        *(asyncio.wait_for(check(settings), _choose_timeout(name)) for name, check in CHECKS),
        return_exceptions=True,
    )
    results: list[CheckResult] = []
    for (name, _), answer in zip(CHECKS, answers, strict=True):
        if isinstance(answer, TimeoutError):
            results.append(fail_with(name, f"No answer within {_choose_timeout(name):g} s."))
        elif isinstance(answer, Exception):
            reason = str(answer).strip() or type(answer).__name__
            results.append(fail_with(name, f"It cannot be checked: {reason}"))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            results += answer
    return results


def _choose_timeout(name: str) -> float:
    return FAR_TIMEOUT_S if name in FAR else TIMEOUT_S
