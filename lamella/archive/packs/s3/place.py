"""Where packs lie in S3: bucket, prefix, endpoint; and how a pack's key follows from its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from lamella.errors import InvalidRequest

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PACK_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{30})\.pack")


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A place for packs.

    Attributes:
        bucket: Its name.
        prefix: Of all keys; empty, or it ends in a slash.
        endpoint_url: Of a store that is not AWS's own, else None.
    """

    bucket: str
    prefix: str
    endpoint_url: str | None

    @property
    def url(self) -> str:
        """The place as a storage URL names it."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def pack_prefix(self) -> str:
        """What the keys of all packs begin with."""
        return f"{self.prefix}packs/"

    def key_of(self, name: str) -> str:
        """Return a pack's key."""
        return f"{self.pack_prefix}{name[:2]}/{name[2:]}.pack"

    def key_beside(self, name: str) -> str:
        """Return the key of something else than a pack."""
        return f"{self.prefix}{name}"

    def name_of(self, key: str) -> str | None:
        """Return the name of the pack that has this key, or None if it is no pack's."""
        match = _PACK_KEY.fullmatch(key.removeprefix(self.pack_prefix))
        return match[1] + match[2] if match else None


def parse_place(storage_url: str, endpoint_url: str = "") -> BucketPlace:
    """Parse `s3://bucket/prefix`.

    Raises:
        InvalidRequest: It is not one, or the endpoint is no HTTP URL.
    """
    parts = urlsplit(storage_url)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise InvalidRequest("LAMELLA_STORAGE_URL must be s3://BUCKET or s3://BUCKET/PREFIX.")
    endpoint = urlsplit(endpoint_url)
    if endpoint_url and (endpoint.scheme not in ("http", "https") or not endpoint.netloc):
        raise InvalidRequest("LAMELLA_S3_ENDPOINT_URL must be http://HOST:PORT or https://HOST.")
    prefix = unquote(parts.path).strip("/")
    return BucketPlace(
        parts.netloc, f"{prefix}/" if prefix else "", endpoint_url.rstrip("/") or None
    )
