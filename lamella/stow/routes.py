"""The store transaction as HTTP: parts stream to the spool, then one pack, then one commit.

Source:
    PS3.18 §10.5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp

from lamella.archive.facts import InstanceFacts
from lamella.archive.instances import Intake, Received
from lamella.archive.spool import Chunk
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import (
    DICOM,
    DICOM_JSON,
    JSON,
    MediaType,
    negotiate_json,
    parse_content_type,
)
from lamella.dicomweb.multipart_reader import boundary_of, read_parts
from lamella.dicomweb.pinned import Pinned, pin
from lamella.dicomweb.transactions import Transaction, declare, related
from lamella.dicomweb.writers import open_session
from lamella.errors import (
    InstanceRefused,
    InvalidRequest,
    StudyMismatch,
    UnsupportedMediaType,
)
from lamella.stow.deletes import delete_instances
from lamella.stow.results import Failure, StoreResult
from lamella.vcs.commits import commit_intake
from lamella.vcs.staging import Session

_PART_TYPES = (DICOM, "application/octet-stream")


@post(
    [
        f"/dicomweb/{{dataset:str}}{revision}/studies{study}"
        for revision in ("", "/{revision:str}")
        for study in ("", "/{study:str}")
    ],
    status_code=200,
    name="store",
    opt=declare(Transaction("10.5", (DICOM_JSON, JSON), bodies=(related(DICOM), DICOM))),
    request_max_body_size=None,
)
async def store(request: Request[Any, Any, Any]) -> ASGIApp:
    """Store instances on a branch, as one commit or none."""
    pinned = await pin(request)
    form = negotiate_json(pinned.accept)
    work = open_session(pinned, "store")
    intake = Intake(pinned.services.repository.archive)
    try:
        received, failures = await _receive(request, intake)
    except BaseException:
        intake.close()
        raise
    result = StoreResult(failures=failures)
    commit_id = pinned.view.commit_id
    if received:
        commit_id = await _commit(pinned, work, intake, received, result)
    else:
        intake.close()
    body = msgspec.json.encode(result.to_dicom_json(pinned.url))
    headers = [("content-type", form.media_type), ("lamella-commit", commit_id)]
    return Answer(result.status, headers, body)


ROUTES = (store, delete_instances)


async def _commit(
    pinned: Pinned, work: Session, intake: Intake, received: list[Received], result: StoreResult
) -> str:
    repository = pinned.services.repository
    committed = await commit_intake(repository, work, intake, received)
    for outcome in committed.outcomes:
        result.add(outcome)
    return committed.commit_id.hex()


async def _receive(
    request: Request[Any, Any, Any], intake: Intake
) -> tuple[list[Received], list[Failure]]:
    """Spool every part of the body.

    Raises:
        InvalidRequest: The body is cut off or holds nothing; nothing is stored then.
        UnsupportedMediaType: It is not made of `application/dicom`.
    """
    check = _make_check(request.path_params.get("study"))
    received: list[Received] = []
    failures: list[Failure] = []
    async for chunks in _split_body(request):
        seen: list[InstanceFacts] = []

        def look(facts: InstanceFacts, seen: list[InstanceFacts] = seen) -> None:
            seen.append(facts)
            check(facts)

        try:
            received.append(await intake.add(chunks, look))
        except InstanceRefused as error:
            names = (seen[0].sop_class_uid, seen[0].sop_uid) if seen else ("", "")
            failures.append(Failure(*names, error.dimse_status))
    if not received and not failures:
        raise InvalidRequest("The request holds no instance.")
    return received, failures


async def _split_body(request: Request[Any, Any, Any]) -> AsyncIterator[AsyncIterator[Chunk]]:
    content_type = parse_content_type(request.headers.get("content-type"))
    if content_type.essence == DICOM:
        yield _read_body(request)
        return
    _check_multipart(content_type)
    async for part in read_parts(_read_body(request), boundary_of(content_type)):
        kind = part.headers.get("content-type")
        if kind is not None and parse_content_type(kind).essence not in _PART_TYPES:
            raise UnsupportedMediaType(f"A part must be {DICOM}.")
        yield part.chunks()


async def _read_body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        InvalidRequest: The client went away before its end.
    """
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise InvalidRequest("The request body ends before its time.")
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


def _check_multipart(content_type: MediaType) -> None:
    kind = (content_type.parameter("type") or DICOM).lower()
    if content_type.essence == "multipart/related" and kind not in _PART_TYPES:
        raise UnsupportedMediaType(f"Parts of type {kind} are not taken here; send {DICOM}.")


def _make_check(study_uid: str | None) -> Callable[[InstanceFacts], None]:
    def check(facts: InstanceFacts) -> None:
        if study_uid is not None and facts.study_uid != study_uid:
            raise StudyMismatch(f"Instance {facts.sop_uid} belongs to study {facts.study_uid}.")

    return check
