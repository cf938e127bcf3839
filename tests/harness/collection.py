"""One dataset of a running server, as an HTTP client sees it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.harness.server import RunningServer

FAILED, REFERENCED, OTHER_FAILURES = "00081198", "00081199", "0008119A"
SOP_UID, REASON, RETRIEVE_URL = "00081155", "00081197", "00081190"


@dataclass
class Collection:
    """A dataset of its own for one test.

    Attributes:
        client: Made for the server's base URL; also reaches `/api/v1`.
        name: The dataset's.
    """

    client: httpx.Client
    server: RunningServer
    name: str

    @property
    def api(self) -> str:
        """URL of the dataset under `/api/v1`."""
        return f"{self.server.http}/api/v1/datasets/{self.name}"

    def root(self, revision: str | None = "main") -> str:
        """URL of the DICOMweb root of a revision."""
        return self.server.root(revision, self.name)

    def get(
        self, path: str, revision: str | None = "main", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """GET a resource of a revision; `path` begins behind the root, with a slash."""
        return self.client.get(self.root(revision) + path, headers=headers)

    def store(
        self,
        *instances: bytes,
        revision: str | None = "main",
        study: str = "",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Store instances in one request."""
        content_type, body = join_parts(instances)
        url = f"{self.root(revision)}/studies" + (f"/{study}" if study else "")
        return self.client.post(
            url, content=body, headers={"Content-Type": content_type, **(headers or {})}
        )

    def store_well(self, *instances: bytes, revision: str = "main", message: str = "") -> str:
        """Store instances that must all be taken; return the commit that holds them."""
        headers = {"Lamella-Message": message} if message else None
        answer = self.store(*instances, revision=revision, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.headers["lamella-commit"]

    def head(self, branch: str = "main") -> str:
        """Return the commit id of a branch."""
        return str(self.call("GET", f"/commits/{branch}")["id"])

    def log(self, revision: str = "main") -> list[dict[str, Any]]:
        """Return the commits of a revision, newest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/commits?revision={revision}&limit=1000")
        return found

    def read_file(self, sop_uid: str, revision: str = "main") -> bytes:
        """Return the original bytes of an instance."""
        answer = self.client.get(f"{self.api}/instances/{sop_uid}/file?revision={revision}")
        assert answer.status_code == 200, answer.text
        return answer.content

    def make_ref(self, kind: str, name: str, revision: str | None = None) -> httpx.Response:
        """Make one of the `branches` or `tags`."""
        body = {"name": name} if revision is None else {"name": name, "revision": revision}
        return self.client.post(f"{self.api}/{kind}", json=body)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call `/api/v1`, which must succeed; return its JSON."""
        answer = self.client.request(method, self.api + path, **options)
        assert answer.is_success, answer.text
        return answer.json()


def join_parts(
    parts: Sequence[bytes], *, part_type: str = "application/dicom", is_quoted: bool = True
) -> tuple[str, bytes]:
    """Return the Content-Type and body of a multipart store request."""
    boundary = secrets.token_hex(16)
    pieces = [
        f"--{boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode() + part + b"\r\n"
        for part in parts
    ]
    body = b"".join([*pieces, f"--{boundary}--\r\n".encode()])
    kind = '"application/dicom"' if is_quoted else "application/dicom"
    shown = f'"{boundary}"' if is_quoted else boundary
    return f"multipart/related; type={kind}; boundary={shown}", body


@contextmanager
def open_client(timeout_s: float = 120) -> Iterator[httpx.Client]:
    """Yield a client that asks for no compression unless told."""
    with httpx.Client(
        timeout=timeout_s, trust_env=False, headers={"Accept-Encoding": "identity"}
    ) as client:
        yield client


def make_collection(
    client: httpx.Client, server: RunningServer, duplicates: str = "version"
) -> Collection:
    """Make a dataset of a random name on a server."""
    name = f"d{secrets.token_hex(6)}"
    body = {"name": name, "duplicates": duplicates}
    made = client.post(f"{server.http}/api/v1/datasets", json=body)
    assert made.status_code == 201, made.text
    return Collection(client, server, name)


def list_uids(answer: httpx.Response, sequence: str) -> list[str]:
    """Return the SOP Instance UIDs of a sequence in a store's answer."""
    return [item[SOP_UID]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]


def list_reasons(answer: httpx.Response, sequence: str = FAILED) -> list[int]:
    """Return the failure reasons in a store's answer."""
    return [item[REASON]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]
