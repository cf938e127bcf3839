"""The bucket, over aioboto3: one client, opened when it is first needed, and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aioboto3
from aiobotocore.config import AioConfig

from lamella.archive.packs.s3.descriptions import open_session
from lamella.archive.packs.s3.patience import Patience
from lamella.archive.packs.s3.place import BucketPlace
from lamella.archive.packs.s3.trouble import TROUBLES, explain, is_passing

T = TypeVar("T")
CONNECTIONS = 32
BRIEFLY_S = 5.0

Client = Any
"""aioboto3 makes its methods from AWS's descriptions, so there is no type to name."""


class Bucket:
    """Calls of S3's API on one bucket. For one event loop.

    Args:
        place: The bucket and how to reach it.
        region: AWS's region.
        patience: How often to ask.
    """

    def __init__(self, place: BucketPlace, region: str, patience: Patience) -> None:
        self.place = place
        self._region = region
        self._patience = patience
        self._stack = AsyncExitStack()
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation on the bucket, again if what goes wrong may pass.

        Args:
            operation: A method of the client.
            parameters: Its parameters but `Bucket`.

        Raises:
            OutOfResources: S3 refuses or does not answer; the cause is the client's own error.
        """

        async def ask(client: Client) -> dict[str, Any]:
            answer: dict[str, Any] = await getattr(client, operation)(
                Bucket=self.place.bucket, **parameters
            )
            return answer

        return await self.work(ask)

    async def work(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with the client, again if what goes wrong may pass.

        Raises:
            OutOfResources: S3 refuses or does not answer.
        """
        client = await self._open()
        pauses = self._patience.draw_pauses()
        while True:
            try:
                return await ask(client)
            except TROUBLES as error:
                pause_s = next(pauses, None) if is_passing(error) else None
                if pause_s is None:
                    raise explain(error, self.place.bucket) from error
            await asyncio.sleep(pause_s)

    async def call_briefly(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """As `call`, for a few seconds at most.

        Raises:
            OutOfResources: S3 refuses or does not answer.
        """
        await self._open()  # costs no request, but much of a busy machine's time
        try:
            async with asyncio.timeout(BRIEFLY_S):
                return await self.call(operation, **parameters)
        except TimeoutError as error:
            raise explain(error, self.place.bucket) from error

    async def check(self) -> datetime:
        """Ask whether the bucket is there; return S3's time.

        Raises:
            OutOfResources: It is not, or not for us.
        """
        answer = await self.call_briefly("head_bucket")
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date) if date else datetime.now(UTC)

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, int, datetime]]:
        """Yield key, size and time of every object under a prefix.

        Raises:
            OutOfResources: S3 refuses or does not answer.
        """
        more: dict[str, str] = {}
        while True:
            page = await self.call("list_objects_v2", Prefix=prefix, **more)
            for item in page.get("Contents", []):
                yield item["Key"], item["Size"], item["LastModified"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def close(self) -> None:
        """Close the connections."""
        self._client = None
        await self._stack.aclose()

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                self._client = await self._stack.enter_async_context(self._make_client())
        return self._client

    def _make_client(self) -> Any:
        endpoint_url = self.place.endpoint_url
        config = AioConfig(
            connect_timeout=self._patience.connect_timeout_s,
            read_timeout=self._patience.read_timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            signature_version="s3v4",
            # Content-MD5 guards what is sent: every store knows it, and it is the ETag to come
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if endpoint_url else "auto",
                "payload_signing_enabled": False,
            },
        )
        session = aioboto3.Session(region_name=self._region, botocore_session=open_session())
        return session.client("s3", endpoint_url=endpoint_url, config=config)
