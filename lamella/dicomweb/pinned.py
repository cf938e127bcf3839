"""A DICOMweb request, pinned: its view, its URLs, and the headers that say so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from litestar import Request

from lamella.archive.threads import run_in_thread
from lamella.dicomweb.answers import GZIP_FROM_BYTES, Answer, compress_body
from lamella.dicomweb.locations import base_url, escape, join_path
from lamella.dicomweb.media_types import DICOM_XML, MediaRange, parse_accept, recall_accept
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.native_model import Attributes, write_native_model
from lamella.dicomweb.services import Services, services_of
from lamella.vcs.view import View, pin_view, read_view, recall_view

T = TypeVar("T")

_REPRESENTATIONS = "1"  # change it when the same commit is written differently from now on
_SCOPE_KEY = "lamella.pinned"
_LONGEST_KNOWN_ACCEPT = 1000
COMPRESSED_IN_THREAD_FROM_BYTES = 256 << 10  # what takes longer than the hand-over
_IMMUTABLE = "max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Pinned:
    """One request on one commit.

    Attributes:
        request: The request.
        services: What to work with.
        view: The commit that answers.
        root_url: Absolute URL of the DICOMweb root, with the revision as it was typed; '' for
            a request to `/api/v1`, whose revision is a parameter.
        accept: What the client takes, most wanted first.
    """

    request: Request[Any, Any, Any]
    services: Services
    view: View
    root_url: str
    accept: Sequence[MediaRange]

    def url(self, *segments: str) -> str:
        """Return the absolute URL of a resource under this root, as typed."""
        return "/".join([self.root_url, *map(escape, segments)])

    def headers(self, media_type: str, coding: str = "") -> list[tuple[str, str]]:
        """Return the headers of a GET answer: commit, place, validators.

        Args:
            media_type: The chosen representation, with parameters that tell it from others.
            coding: The chosen content coding.
        """
        visibility = "public" if self.services.settings.auth == "none" else "private"
        # what a mask takes away may be given back
        fixed = self.view.revision.is_commit_id and not self.view.is_masked
        rest = self._read_rest()
        return [
            ("lamella-commit", self.view.commit_id),
            ("content-location", self._make_fixed_url(rest)),
            ("etag", self._make_etag(rest, media_type, coding)),
            ("cache-control", f"{visibility}, {_IMMUTABLE}" if fixed else "no-cache"),
            ("vary", "Accept, Accept-Encoding"),
        ]

    async def answer(
        self, media_type: str, body: bytes, extra: Sequence[tuple[str, str]] = ()
    ) -> Answer:
        """Return a whole body, gzipped where the client takes that, or 304."""
        coding = ""
        if len(body) >= GZIP_FROM_BYTES and takes_gzip(self.request):
            coding = "gzip"
        headers = self.headers(media_type, coding)
        if self.is_fresh(headers):
            return Answer(304, headers)
        if coding:
            is_long = len(body) >= COMPRESSED_IN_THREAD_FROM_BYTES
            body = await run_in_thread(compress_body, body) if is_long else compress_body(body)
            headers.append(("content-encoding", coding))
        return Answer(200, [*headers, ("content-type", media_type), *extra], body)

    async def answer_xml(
        self, data_sets: Iterable[Attributes], extra: Sequence[tuple[str, str]] = ()
    ) -> Answer:
        """Return data sets as multipart/related of `application/dicom+xml` parts, or 304.

        Args:
            data_sets: Each as DICOM JSON; iterated over in a thread.
            extra: More headers.
        """
        headers = self.headers(DICOM_XML)
        if self.is_fresh(headers):
            return Answer(304, headers)
        boundary = new_boundary()
        headers.append(("content-type", multipart_content_type(boundary, DICOM_XML)))
        body = await run_in_thread(_write_xml_parts, data_sets, boundary)
        return Answer(200, [*headers, *extra], body)

    def is_fresh(self, headers: Sequence[tuple[str, str]]) -> bool:
        """Tell whether the client has this representation already (`If-None-Match`).

        Source:
            RFC 9110 §13.1.2 (weak comparison).
        """
        asked = read_header(self.request, b"if-none-match")
        if asked is None:
            return False
        known = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
        return "*" in known or dict(headers)["etag"] in known

    def fixed_url(self) -> str:
        """Return the URL of the same resource under the full commit id."""
        return self._make_fixed_url(self._read_rest())

    def _make_fixed_url(self, rest: str) -> str:
        base = base_url(self.request)
        if not self.root_url:
            return f"{base}{rest}?revision={self.view.commit_id}"
        query = self._read_query()
        dataset = escape(self.view.dataset.name)
        url = f"{base}/dicomweb/{dataset}/{self.view.commit_id}{rest}"
        return f"{url}?{query}" if query else url

    def _read_query(self) -> str:
        query: bytes = self.request.scope["query_string"]
        return query.decode("latin-1")

    def _read_rest(self) -> str:
        """Return the path behind the revision, escaped; of `/api/v1` the whole path."""
        parts = str(self.request.scope["path"]).split("/")[1:]
        if self.root_url:
            parts = parts[3 if "revision" in self.request.path_params else 2 :]
        return join_path(*parts)

    def _make_etag(self, rest: str, media_type: str, coding: str) -> str:
        query = self._read_query() if self.root_url else ""
        shown = self.view.shown_id.hex()
        facts = "\0".join([_REPRESENTATIONS, shown, rest, query, media_type, coding])
        return f'"{hashlib.sha256(facts.encode()).hexdigest()[:40]}"'


async def recall_pinned(request: Request[Any, Any, Any]) -> Pinned | None:
    """Return the request pinned, if what its revision resolves to is known; see `recall_view`."""
    services = services_of(request)
    names = request.path_params
    view = await recall_view(services.repository, names["dataset"], names.get("revision"))
    return None if view is None else _remember(request, services, view)


async def pin(request: Request[Any, Any, Any]) -> Pinned:
    """Resolve the dataset and revision in a request's path.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    services = services_of(request)
    names = request.path_params
    view = await pin_view(services.repository, names["dataset"], names.get("revision"))
    return _remember(request, services, view)


async def pin_and_read(
    request: Request[Any, Any, Any],
    work: Callable[[sa.Connection, Pinned], T],
    recalled: Pinned | None = None,
) -> tuple[Pinned, T]:
    """Resolve the revision in a request's path and read from its view, in one transaction.

    Args:
        request: The request.
        work: As `view.read_view` says.
        recalled: What `recall_pinned` has just returned.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    services = services_of(request)
    names = request.path_params

    def read(connection: sa.Connection, view: View) -> tuple[Pinned, T]:
        pinned = _remember(request, services, view)
        return pinned, work(connection, pinned)

    looked_up = None if recalled is None else recalled.view
    _, found = await read_view(
        services.repository, names["dataset"], names.get("revision"), read, looked_up
    )
    return found


def _remember(request: Request[Any, Any, Any], services: Services, view: View) -> Pinned:
    """Keep the pinned request, so that an error's answer can tell the commit, too."""
    revision = request.path_params.get("revision")
    root = f"{base_url(request)}/dicomweb/{escape(view.dataset.name)}"
    if revision is not None:
        root = f"{root}/{escape(revision)}"
    accept = _read_accept(request)
    pinned = Pinned(request, services, view, root, accept)
    request.scope["state"][_SCOPE_KEY] = pinned
    return pinned


def _write_xml_parts(data_sets: Iterable[Attributes], boundary: str) -> bytes:
    body = bytearray()
    for data_set in data_sets:
        part = write_native_model(data_set)
        body += part_header(boundary, DICOM_XML, None, len(part), is_first=not body)
        body += part
    body += closing(boundary) if body else closing(boundary).lstrip()
    return bytes(body)


def read_header(request: Request[Any, Any, Any], name: bytes) -> str | None:
    """Return the first value of a header; the name is in lower case."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def _read_accept(request: Request[Any, Any, Any]) -> Sequence[MediaRange]:
    header, parameters = read_header(request, b"accept"), _list_accept_parameters(request)
    if parameters or len(header or "") > _LONGEST_KNOWN_ACCEPT:
        return parse_accept(header, parameters)
    return recall_accept(header)


def _list_accept_parameters(request: Request[Any, Any, Any]) -> tuple[str, ...]:
    query = request.scope["query_string"]
    names = [pair.partition(b"=")[0] for pair in query.split(b"&")]
    if not any(name == b"accept" or b"%" in name for name in names):
        return ()
    return tuple(request.query_params.getall("accept", []))


def pinned_headers(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the headers that say which commit a failed request was about, if that is known."""
    pinned = request.scope.get("state", {}).get(_SCOPE_KEY)
    if not isinstance(pinned, Pinned):
        return {}
    headers = {"Lamella-Commit": pinned.view.commit_id}
    if request.method in ("GET", "HEAD"):
        headers["Content-Location"] = pinned.fixed_url()
    return headers


def takes_gzip(request: Request[Any, Any, Any]) -> bool:
    """Tell whether Accept-Encoding allows gzip (RFC 9110 §12.5.3)."""
    for member in (read_header(request, b"accept-encoding") or "").lower().split(","):
        coding, _, parameter = member.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            weight = parameter.replace(" ", "").removeprefix("q=")
            return not parameter or weight.strip("0.") != ""
    return False
