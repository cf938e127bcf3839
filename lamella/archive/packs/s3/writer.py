"""Whole packs into S3: one PUT, or parts for what is very long; all of it there, or refused.

Each body goes with its MD5, so S3 refuses one that was torn or changed on its way, and the ETag
of the answer is compared with it. Where that does not agree (a store with other ETags, or a
wrong answer), the object is read again and compared before the pack counts as stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from lamella.archive.packs.s3.bucket import Bucket, Client
from lamella.archive.packs.s3.part_file import PartFile
from lamella.archive.packs.s3.trouble import code_of
from lamella.archive.threads import run_in_thread
from lamella.errors import LamellaError, OutOfResources

logger = logging.getLogger("lamella.packs")

SINGLE_PUT_BYTES = 64 << 20
PART_BYTES = 16 << 20
MOST_PARTS = 10_000
PARTS_AT_ONCE = 3
PUTS_AT_ONCE = 8
READ_BYTES = 1 << 20
_ENCRYPTED = frozenset({"aws:kms", "aws:kms:dsse"})  # their ETag is no MD5


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a spool, as S3 numbers them."""

    number: int
    start: int
    length_bytes: int


class PackWriter:
    """Writes packs. For one event loop.

    Args:
        bucket: Where they go.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._place = bucket.place
        self._turns = asyncio.Semaphore(PUTS_AT_ONCE)
        self._part_turns = asyncio.Semaphore(PARTS_AT_ONCE)

    async def put_bytes(self, name: str, data: bytes) -> None:
        """Store a short pack; it is durable when this returns.

        Raises:
            OutOfResources: S3 refuses or does not answer; there may be an object nobody knows.
        """
        digest = await run_in_thread(_hash, data)
        async with self._turns:
            key = self._place.key_of(name)
            await self._put(key, lambda: nullcontext(data), len(data), digest)

    async def put_file(self, name: str, path: Path) -> None:
        """Store a file as a pack; it is durable when this returns.

        Raises:
            OutOfResources: As `put_bytes`, or the file cannot be read.
        """
        await self.put_object(self._place.key_of(name), path)

    async def put_object(self, key: str, path: Path) -> None:
        """Store a file under a key; it is durable when this returns.

        Raises:
            OutOfResources: As `put_file`.
        """
        try:
            size_bytes = (await run_in_thread(path.stat)).st_size
            async with self._turns:
                if size_bytes > SINGLE_PUT_BYTES:
                    await self._put_parts(key, path, size_bytes)
                    return
                digest = await run_in_thread(_hash_file, path)
                # each attempt has a file of its own: a thread may still read for one given up
                await self._put(key, lambda: path.open("rb"), size_bytes, digest)
        except OSError as error:
            raise OutOfResources(f"A spool file cannot be read: {error.strerror}.") from error

    async def delete(self, name: str) -> None:
        """Delete a pack; one that is not there is no error.

        Raises:
            OutOfResources: S3 refuses or does not answer.
        """
        await self._bucket.call("delete_object", Key=self._place.key_of(name))

    async def discard(self, name: str) -> None:
        """Delete a pack that nobody will miss, if S3 lets us now; else it is left there."""
        try:
            await self._bucket.call_briefly("delete_object", Key=self._place.key_of(name))
        except OutOfResources as error:
            logger.warning("a pack without use is left in S3: %s", error.detail)

    async def _put(
        self,
        key: str,
        open_body: Callable[[], AbstractContextManager[bytes | IO[bytes]]],
        size_bytes: int,
        digest: bytes,
    ) -> None:
        async def send(client: Client) -> dict[str, Any]:
            with open_body() as body:
                answer: dict[str, Any] = await client.put_object(
                    Bucket=self._place.bucket,
                    Key=key,
                    Body=body,
                    ContentLength=size_bytes,
                    ContentMD5=b64encode(digest).decode(),
                )
            return answer

        answer = await self._bucket.work(send)
        if not _fits(answer, digest.hex()):
            await self._compare(key, size_bytes, digest)

    async def _put_parts(self, key: str, path: Path, size_bytes: int) -> None:
        upload = (await self._bucket.call("create_multipart_upload", Key=key))["UploadId"]
        try:
            parts = await self._send_parts(key, upload, path, size_bytes)
            answer = await self._complete(key, upload, parts)
        except BaseException:
            await asyncio.shield(self._abort(key, upload))
            raise
        joined = hashlib.md5(b"".join(digest for _, digest in parts), usedforsecurity=False)
        if not _fits(answer, f"{joined.hexdigest()}-{len(parts)}"):
            await self._compare(key, size_bytes, await run_in_thread(_hash_file, path))

    async def _send_parts(
        self, key: str, upload: str, path: Path, size_bytes: int
    ) -> list[tuple[dict[str, Any], bytes]]:
        """Return what completes the upload, and the MD5 of each part."""

        async def send(part: _Part) -> tuple[dict[str, Any], bytes]:
            async with self._part_turns:
                digest = await run_in_thread(_hash_part, path, part)
                for _ in range(2):  # a wrong answer once, or a store with ETags of its own
                    answer = await self._bucket.work(lambda c: send_once(c, part, digest))
                    if _fits(answer, digest.hex()):
                        break
            return {"PartNumber": part.number, "ETag": answer["ETag"]}, digest

        async def send_once(client: Client, part: _Part, digest: bytes) -> dict[str, Any]:
            with _open_part(path, part) as body:
                answer: dict[str, Any] = await client.upload_part(
                    Bucket=self._place.bucket,
                    Key=key,
                    UploadId=upload,
                    PartNumber=part.number,
                    Body=body,
                    ContentLength=part.length_bytes,
                    ContentMD5=b64encode(digest).decode(),
                )
            return answer

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(send(part)) for part in _cut_parts(size_bytes)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _complete(
        self, key: str, upload: str, parts: list[tuple[dict[str, Any], bytes]]
    ) -> dict[str, Any]:
        listed = {"Parts": [part for part, _ in parts]}
        try:
            return await self._bucket.call(
                "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload=listed
            )
        except OutOfResources as error:
            cause = error.__cause__
            if isinstance(cause, Exception) and code_of(cause) == "NoSuchUpload":
                return {}  # completed by an attempt whose answer was lost, which `_compare` sees
            raise

    async def _abort(self, key: str, upload: str) -> None:
        try:
            await self._bucket.call("abort_multipart_upload", Key=key, UploadId=upload)
        except LamellaError as error:
            logger.warning("an upload in parts is left to be removed later: %s", error.detail)

    async def _compare(self, key: str, size_bytes: int, digest: bytes) -> None:
        """Read an object again.

        Raises:
            OutOfResources: It is not what was sent.
        """

        async def read(client: Client) -> tuple[int, bytes]:
            answer = await client.get_object(Bucket=self._place.bucket, Key=key)
            hasher, count = hashlib.md5(usedforsecurity=False), 0
            stream = answer["Body"]
            async with stream:
                while chunk := await stream.read(READ_BYTES):
                    hasher.update(chunk)
                    count += len(chunk)
            return count, hasher.digest()

        if await self._bucket.work(read) != (size_bytes, digest):
            raise OutOfResources("S3 does not hold what it was sent: send again.")


def _fits(answer: dict[str, Any], etag: str) -> bool:
    """Tell whether an answer has the ETag that such an object must have."""
    if answer.get("ServerSideEncryption") in _ENCRYPTED:
        return bool(answer.get("ETag"))
    return str(answer.get("ETag", "")).strip('"') == etag


def _cut_parts(size_bytes: int) -> list[_Part]:
    length = max(PART_BYTES, -(-size_bytes // MOST_PARTS))
    starts = range(0, size_bytes, length)
    return [
        _Part(number, start, min(length, size_bytes - start))
        for number, start in enumerate(starts, 1)
    ]


def _open_part(path: Path, part: _Part) -> BufferedReader:
    return BufferedReader(PartFile(path, part.start, part.length_bytes))


def _hash_part(path: Path, part: _Part) -> bytes:
    with _open_part(path, part) as file:
        return hashlib.file_digest(file, _md5).digest()


def _hash(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _hash_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).digest()


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
