"""Redis: does it answer, and does it keep the messages that it took?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

NAME = "redis"
TIMEOUT_S = 2.0
KEEPS = "noeviction"


async def check_redis(settings: Settings) -> Sequence[CheckResult]:
    """Look at the Redis that the settings name, if they name one; nothing is written."""
    if not settings.redis_url:
        return []
    try:
        import redis
    except ImportError:
        return []  # the check of extras says so
    try:
        facts = await asyncio.to_thread(_read_facts, settings.redis_url)
    except (redis.RedisError, ValueError) as error:
        reason = str(error).strip() or type(error).__name__
        return [fail_with(NAME, f"Redis does not answer: jobs wait in the database. ({reason})")]
    return [_judge(facts)]


def _read_facts(url: str) -> Mapping[str, Any]:
    import redis

    options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    with redis.Redis.from_url(url, **options) as client:
        facts: dict[str, Any] = client.info()
        with suppress(redis.ResponseError):  # who may not ask for settings does not learn them
            facts |= client.config_get("save")
        return facts


def _judge(facts: Mapping[str, Any]) -> CheckResult:
    """Return what there is to say of a server, by what it tells of itself (INFO)."""
    policy = str(facts.get("maxmemory_policy", KEEPS))
    sentence = f"Redis {facts.get('redis_version', '?')}: maxmemory-policy={policy}, "
    sentence += "persistent." if _is_persistent(facts) else "not persistent."
    if facts.get("loading"):
        return warn_with(NAME, f"{sentence} It is still reading its data: jobs wait until then.")
    if facts.get("maxmemory") and policy != KEEPS:
        advice = "Full, it throws away messages, and jobs come late: set it to noeviction."
        return warn_with(NAME, f"{sentence} {advice}")
    return pass_with(NAME, f"{sentence} Jobs are rows of the database: it may lose all it has.")


def _is_persistent(facts: Mapping[str, Any]) -> bool:
    """Tell whether it writes a log, or saves what it holds now and then."""
    return bool(facts.get("aof_enabled")) or bool(facts.get("save"))
