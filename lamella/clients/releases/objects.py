"""Objects of a folder, a bucket or a web server, read by ranges.

By `requests` and not by obstore, which stored packs are read by elsewhere: its threads do not
survive a fork, and these clients are used on both sides of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from lamella.errors import IntegrityError, InvalidRequest, OutOfResources, ResourceNotFound

TIMEOUT_S = (10, 60)
RETRIES = Retry(total=5, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504))
SIGNED_FOR_S = 3600
SIGNED_ANEW_AFTER_S = 1800
MOST_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where objects are.

    Attributes:
        url: `file:///folder`, `s3://bucket/prefix`, `https://host/path`, or a folder's path.
        s3_endpoint_url: Of an S3 store that is not AWS's own.
    """

    url: str
    s3_endpoint_url: str = ""

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one."""
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return None if parts.scheme in ("s3", "http", "https") else Path(self.url).expanduser()


class Objects(Protocol):
    """Reads objects, in the calling thread, from any number of threads."""

    def measure(self, key: str) -> int:
        """Return an object's length in bytes.

        Raises:
            ResourceNotFound: There is none.
            OutOfResources: The store does not answer.
        """
        ...

    def read_at(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return a range of an object; fewer bytes only at its end.

        Raises:
            ResourceNotFound: There is no such object.
            OutOfResources: The store does not answer.
        """
        ...


def open_objects(place: StoreUrl) -> Objects:
    """Return what reads the objects of a place; nothing is asked for yet.

    Raises:
        InvalidRequest: There is no such folder, the URL is wrong, or there are no credentials.
    """
    folder = place.folder
    if folder is not None:
        return _FolderObjects(folder)
    if place.url.startswith("s3:"):
        return _WebObjects(_open_bucket(place))
    root = place.url.rstrip("/")
    return _WebObjects(lambda key: f"{root}/{quote(key)}")


class _FolderObjects:
    """Files of a folder."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InvalidRequest(f"There is no folder {folder}.")
        self._folder = folder

    def measure(self, key: str) -> int:
        try:
            return (self._folder / key).stat().st_size
        except FileNotFoundError as error:
            raise ResourceNotFound(f"There is no {key}.") from error
        except OSError as error:
            raise OutOfResources(f"{key} cannot be read: {error.strerror}.") from error

    def read_at(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        try:
            with (self._folder / key).open("rb") as file:
                file.seek(offset_bytes)
                return file.read(length_bytes)
        except FileNotFoundError as error:
            raise ResourceNotFound(f"There is no {key}.") from error
        except OSError as error:
            raise OutOfResources(f"{key} cannot be read: {error.strerror}.") from error


class _WebObjects:
    """Objects that a web server gives out, or S3 by signed URLs.

    Args:
        name_url: Returns the URL of a key.
    """

    def __init__(self, name_url: Callable[[str], str]) -> None:
        self._name_url = name_url
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=MOST_CONNECTIONS, max_retries=RETRIES)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)

    def measure(self, key: str) -> int:
        answer = self._ask(key, 0, 1)
        told = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if not told.isdigit():
            raise IntegrityError(f"The server gives no ranges of {key}.")
        return int(told)

    def read_at(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        if not length_bytes:
            return b""
        return self._ask(key, offset_bytes, length_bytes).content

    def _ask(self, key: str, offset_bytes: int, length_bytes: int) -> requests.Response:
        last = offset_bytes + length_bytes - 1
        headers = {"Range": f"bytes={offset_bytes}-{last}", "Accept-Encoding": "identity"}
        try:
            answer = self._session.get(self._name_url(key), headers=headers, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            raise OutOfResources(f"{key} cannot be read now.") from error
        if answer.status_code == 404:
            raise ResourceNotFound(f"There is no {key}.")
        if answer.status_code != 206:
            raise OutOfResources(f"{key} cannot be read: status {answer.status_code}.")
        return answer


@dataclass(frozen=True, slots=True)
class OneObject:
    """One of them, as `PublishedIndex` reads it."""

    objects: Objects
    key: str

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return a range of the object; fewer bytes only at its end."""
        return self.objects.read_at(self.key, offset_bytes, length_bytes)


def _open_bucket(place: StoreUrl) -> Callable[[str], str]:
    """Return what signs URLs of a bucket's objects.

    Raises:
        InvalidRequest: The URL is wrong, or there are no credentials, or S3's extra is missing.
    """
    try:
        import botocore.session
        from botocore.config import Config

        from lamella.archive.packs.s3.credentials import DEFAULT_REGION
        from lamella.archive.packs.s3.place import parse_place
    except ImportError as error:
        raise InvalidRequest("S3 storage needs an extra: install lamella[s3].") from error
    bucket, session = parse_place(place.url, place.s3_endpoint_url), botocore.session.get_session()
    if session.get_credentials() is None:
        raise InvalidRequest("S3 needs credentials: set AWS_ACCESS_KEY_ID and what goes with it.")
    client = session.create_client(
        "s3",
        region_name=session.get_config_variable("region") or DEFAULT_REGION,
        endpoint_url=bucket.endpoint_url,
        config=Config(signature_version="s3v4"),
    )
    signed: dict[str, tuple[str, float]] = {}

    def sign(key: str) -> str:
        url, until = signed.get(key, ("", 0.0))
        if time.monotonic() > until:
            names = {"Bucket": bucket.bucket, "Key": bucket.key_beside(key)}
            url = client.generate_presigned_url("get_object", names, ExpiresIn=SIGNED_FOR_S)
            signed[key] = (url, time.monotonic() + SIGNED_ANEW_AFTER_S)
        return url

    return sign
