"""The store transaction as HTTP: a body goes to the spool, then into a pack, then one commit.

Source:
    PS3.18 §10.5; RFC 9110 §15.5.14 (413), §15.5.16 (content codings).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp

from lamella.archive.intake import Intake
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import DICOM, DICOM_JSON, DICOM_XML, JSON, parse_content_type
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.native_model import write_native_model
from lamella.dicomweb.negotiation import StoreAnswer, negotiate_store
from lamella.dicomweb.pinned import Pinned, pin
from lamella.dicomweb.transactions import Transaction, declare, related
from lamella.dicomweb.writers import open_session
from lamella.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from lamella.stow.archives import ZIP
from lamella.stow.bodies import Delivery
from lamella.stow.bulk_parts import BulkParts
from lamella.stow.deletes import delete_instances
from lamella.stow.results import StoreResult
from lamella.stow.shelf import Shelf
from lamella.vcs.coercion import make_coercer
from lamella.vcs.commits import commit_intake
from lamella.vcs.staging import Session

_TRANSACTION = Transaction(
    "10.5",
    (DICOM_JSON, JSON, DICOM_XML, related(DICOM_XML)),
    bodies=(
        *(related(kind) for kind in (DICOM, DICOM_JSON, DICOM_XML)),
        *(DICOM, DICOM_JSON, DICOM_XML, ZIP),
    ),
)


@post(
    [
        f"/dicomweb/{{dataset:str}}{revision}/studies{study}"
        for revision in ("", "/{revision:str}")
        for study in ("", "/{study:str}")
    ],
    status_code=200,
    name="store",
    opt=declare(_TRANSACTION),
    request_max_body_size=None,
)
async def store(request: Request[Any, Any, Any]) -> ASGIApp:
    """Store instances on a branch, as one commit or none."""
    pinned = await pin(request)
    form = negotiate_store(pinned.accept)
    work = open_session(pinned, "store")
    result = StoreResult()
    commit_id = await _store_body(pinned, work, result)
    content_type, body = _write_answer(form, result.to_dicom_json(pinned.url))
    headers = [("content-type", content_type), ("lamella-commit", commit_id)]
    return Answer(result.status, headers, body)


ROUTES = (store, delete_instances)


async def _store_body(pinned: Pinned, work: Session, result: StoreResult) -> str:
    """Store what a request brings; return the commit that holds it.

    Raises:
        As `Delivery.take` and `commit_intake`; nothing is stored then.
    """
    archive = pinned.services.repository.archive
    limit = pinned.services.settings.max_request_bytes
    content_type = parse_content_type(pinned.request.headers.get("content-type"))
    _check_headers(pinned.request, limit)
    intake = Intake(archive, make_coercer(work.dataset, work.author))
    shelf = Shelf(archive.spool_folder)
    delivery = Delivery(
        intake,
        shelf,
        BulkParts((str(pinned.request.url), f"{pinned.root_url}/")),
        pinned.services.composing,
        pinned.request.path_params.get("study"),
        result,
    )
    try:
        await delivery.take(content_type, _read_body(pinned.request, limit))
    except BaseException:
        intake.close()
        raise
    finally:
        shelf.close()
    if not delivery.received:
        intake.close()
        return pinned.view.commit_id
    return await _commit(pinned, work, delivery)


async def _commit(pinned: Pinned, work: Session, delivery: Delivery) -> str:
    received = [item for item, _ in delivery.received]
    committed = await commit_intake(pinned.services.repository, work, delivery.intake, received)
    for outcome, (item, warning) in zip(committed.outcomes, delivery.received, strict=True):
        delivery.result.add(outcome, warning, item.coerced)
    return committed.commit_id.hex()


def _write_answer(form: StoreAnswer, module: dict[str, Any]) -> tuple[str, bytes]:
    """Return Content-Type and body of the Store Instances Response Module."""
    if form.media_type != DICOM_XML:
        return form.media_type, msgspec.json.encode(module)
    document = write_native_model(module)
    if not form.is_multipart:
        return DICOM_XML, document
    boundary = new_boundary()
    head = part_header(boundary, DICOM_XML, None, len(document), is_first=True)
    return multipart_content_type(boundary, DICOM_XML), head + document + closing(boundary)


def _check_headers(request: Request[Any, Any, Any], limit_bytes: int | None) -> None:
    """Refuse a body by what its header says, before a byte of it is read.

    Raises:
        TooLarge: It is longer than a request may be.
        UnsupportedMediaType: It is compressed as a whole.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType("The request body may not have a Content-Encoding.")
    length = request.headers.get("content-length", "")
    if limit_bytes is not None and length.isdecimal() and int(length) > limit_bytes:
        raise _make_too_large(limit_bytes)


async def _read_body(
    request: Request[Any, Any, Any], limit_bytes: int | None
) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        InvalidRequest: The client went away before its end.
        TooLarge: It is longer than a request may be.
    """
    size_bytes = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise InvalidRequest("The request body ends before its time.")
        size_bytes += len(message["body"])
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise _make_too_large(limit_bytes)
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


def _make_too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"A request may have {limit_bytes:,} bytes at most: store in smaller ones.")
