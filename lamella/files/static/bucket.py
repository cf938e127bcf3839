"""A static export in S3. JSON is kept compressed, and says so (`Content-Encoding`)."""

from __future__ import annotations

import gzip
from typing import IO, Any

from lamella.archive.packs.s3.bucket import Bucket, Client
from lamella.archive.packs.s3.credentials import Credentials
from lamella.archive.packs.s3.patience import Patience
from lamella.archive.packs.s3.place import parse_place
from lamella.archive.packs.s3.trouble import code_of
from lamella.archive.threads import run_in_thread
from lamella.dicomweb.answers import compress_all
from lamella.errors import OutOfResources
from lamella.files.static.destination import Destination, is_dicom_json, iterate_chunks

GZIP = "gzip"
_MISSING = frozenset({"NoSuchKey", "404"})


class BucketDestination(Destination):
    """Objects below a prefix of a bucket. For one event loop.

    Args:
        url: `s3://bucket/prefix`.
        endpoint_url: Of a store that is not AWS's own, else ''.

    Raises:
        InvalidRequest: The URL is wrong, or there are no credentials.
    """

    def __init__(self, url: str, endpoint_url: str) -> None:
        self._place = parse_place(url, endpoint_url)
        self._bucket = Bucket(self._place, Credentials().region, Patience())

    async def read(self, name: str) -> bytes | None:
        async def get(client: Client) -> bytes:
            answer = await client.get_object(Bucket=self._place.bucket, Key=self._name(name))
            async with answer["Body"] as stream:
                data: bytes = await stream.read()
            return await run_in_thread(_unpack, data, answer.get("ContentEncoding", ""))

        try:
            return await self._bucket.work(get)
        except OutOfResources as error:
            cause = error.__cause__
            if isinstance(cause, Exception) and code_of(cause) in _MISSING:
                return None
            raise

    async def write(self, name: str, body: IO[bytes], content_type: str) -> None:
        headers: dict[str, Any] = {"ContentType": content_type}
        if is_dicom_json(content_type):
            data = await run_in_thread(lambda: b"".join(compress_all(iterate_chunks(body))))
            headers["ContentEncoding"] = GZIP
        else:
            data = await run_in_thread(lambda: b"".join(iterate_chunks(body)))
        await self._bucket.call("put_object", Key=self._name(name), Body=data, **headers)

    async def remove(self, folder: str) -> None:
        keys = [key async for key, _, _ in self._bucket.list(self._name(f"{folder}/"))]
        for key in keys:
            await self._bucket.call("delete_object", Key=key)

    async def is_empty(self) -> bool:
        answer = await self._bucket.call("list_objects_v2", Prefix=self._place.prefix, MaxKeys=1)
        return not answer.get("Contents")

    async def close(self) -> None:
        await self._bucket.close()

    def _name(self, name: str) -> str:
        return f"{self._place.prefix}{name}"


def _unpack(data: bytes, coding: str) -> bytes:
    return gzip.decompress(data) if coding == GZIP else data
