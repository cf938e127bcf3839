"""dramatiq on Redis: how runners in other processes hear of work.

A message is no more than the number of a row of the outbox. One that is lost is sent again, one
that comes twice finds the row claimed, so Redis may be stopped, or lose all it has, at any time.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import redis
from dramatiq import Broker, Message
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionError as BrokerConnectionError

from lamella.errors import InvalidRequest, OutOfResources

QUEUE = "lamella-jobs"
ACTOR = "run_job"
SCHEMES = ("redis", "rediss", "unix")
TIMEOUT_S = 5.0
LEFT_AFTER_MS = 60_000  # a worker that was silent for so long is dead: others get its messages


def open_client(url: str) -> redis.Redis:
    """Return a client that does not wait for ever; nothing is connected yet.

    Raises:
        InvalidRequest: The URL is none of Redis.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise InvalidRequest("LAMELLA_REDIS_URL must be redis://…, rediss://… or unix://….")
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)


def open_broker(url: str) -> RedisBroker:
    """Return dramatiq's broker, with none of its middleware: attempts are counted in the outbox.

    Raises:
        InvalidRequest: The URL is none of Redis.
    """
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        client=open_client(url),
        middleware=[],
        namespace="lamella",
        heartbeat_timeout=LEFT_AFTER_MS,
    )
    broker.declare_queue(QUEUE)
    return broker


def send(broker: Broker, job_id: int) -> None:
    """Tell some runner about work.

    Raises:
        OutOfResources: Redis does not answer.
    """
    message: Message[None] = Message(
        queue_name=QUEUE, actor_name=ACTOR, args=(job_id,), kwargs={}, options={}
    )
    try:
        broker.enqueue(message)
    except (redis.RedisError, BrokerConnectionError) as error:
        raise OutOfResources("Redis does not answer.") from error


class QueueProbe:
    """Asks Redis whether it is there.

    Args:
        url: Of Redis.

    Raises:
        InvalidRequest: The URL is none of Redis.
    """

    def __init__(self, url: str) -> None:
        self._client = open_client(url)

    async def check(self) -> None:
        """Return if Redis takes messages now.

        Raises:
            OutOfResources: It does not answer.
        """
        try:
            await asyncio.to_thread(self._client.ping)
        except redis.RedisError as error:
            raise OutOfResources("Redis does not answer.") from error
