"""C-FIND: from a request to its answers, page by page, all of one commit.

The association's thread waits for pages, which the event loop reads, and writes answers no
faster than the peer takes them; between any two it looks for a C-CANCEL.

Source:
    PS3.4 §C.4.1 (C-FIND of Query/Retrieve); PS3.7 §9.1.2.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any, Final, Protocol

import sqlalchemy as sa
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.presentation import PresentationContext

from lamella.archive.query import Query
from lamella.archive.results import build_shaper
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.commands import COMMENT_LENGTH
from lamella.dimse_gateway.depot import Depot
from lamella.dimse_gateway.failures import log_failure
from lamella.dimse_gateway.identifiers import (
    ROOTS,
    Extensions,
    FindRequest,
    read_identifier,
    write_answer,
)
from lamella.errors import IdentifierMismatch, LamellaError, SopClassNotSupported
from lamella.vcs.finder import Found, find
from lamella.vcs.repository import Repository
from lamella.vcs.view import View, read_view

LOGGER = logging.getLogger(__name__)

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WITH_UNSUPPORTED_KEYS: Final = 0xFF01
CANCELLED: Final = 0xFE00
LIMIT_REACHED: Final = 0xB001
OUT_OF_RESOURCES: Final = 0xA700
IDENTIFIER_MISMATCH: Final = 0xA900
UNABLE_TO_PROCESS: Final = 0xC000
WRONG_CONTEXT: Final = SopClassNotSupported.dimse_status

FIRST_PAGE: Final = 100  # soon there
PAGE_GROWTH: Final = 4  # so that what is skipped again is a fraction of what is new
LARGEST_PAGE: Final = 10_000  # as in QIDO-RS: what a page takes in memory
MOST_ANSWERS: Final = 100_000
UNSENT_PDUS: Final = 256  # more would be held for a peer that does not read
UNSENT_POLL_S: Final = 0.005


class Line(Protocol):
    """What is needed of the association that asked."""

    depot: Depot | None
    dimse: Any
    dul: Any

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for answers any more."""
        ...


class Ask(Protocol):
    """Runs work on the event loop and waits for it."""

    def __call__(self, work: Coroutine[Any, Any, Any], /) -> Any: ...


class Finding:
    """Serves one C-FIND in its association's thread.

    Args:
        line: The association.
        repository: Where to look.
        target: The revision that is asked.
        ask: Runs work on the event loop.
    """

    def __init__(self, line: Line, repository: Repository, target: AeTarget, ask: Ask) -> None:
        self._line = line
        self._repository = repository
        self._target = target
        self._ask = ask

    def serve(
        self,
        request: C_FIND,
        context: PresentationContext,
        extensions: Extensions,
        ae_title: str,
    ) -> int:
        """Send all answers, and return the final one's status."""
        self._response = C_FIND()
        self._response.MessageIDBeingRespondedTo = request.MessageID
        self._response.AffectedSOPClassUID = request.AffectedSOPClassUID
        self._context_id = context.context_id
        try:
            asked = _read_request(request, context, extensions)
            is_implicit = context.transfer_syntax[0].is_implicit_VR
            status = self._send_matches(request.MessageID, asked, ae_title, is_implicit)
        except LamellaError as error:
            status = _choose_status(error)
            tag = error.tag if isinstance(error, IdentifierMismatch) else None
            self._end(status, error.detail, tag)
            return status
        except Exception as error:  # noqa: BLE001  (the peer gets an answer, whatever happens)
            log_failure(LOGGER, "A query failed", error)
            status = UNABLE_TO_PROCESS
        comments = {
            UNABLE_TO_PROCESS: "The query could not be answered.",
            LIMIT_REACHED: f"There are more than {MOST_ANSWERS} matches.",
        }
        self._end(status, comments.get(status, ""))
        return status

    def _send_matches(
        self, message_id: int, asked: FindRequest, ae_title: str, is_implicit: bool
    ) -> int:
        shape = build_shaper(asked.query)
        pending = PENDING if asked.is_supported else PENDING_WITH_UNSUPPORTED_KEYS
        n_sent = 0
        for found in self._read_pages(asked.query):
            for match in found.matches:
                if message_id in self._line.dimse.cancel_req or not self._wait_for_peer():
                    return CANCELLED
                if n_sent == MOST_ANSWERS:
                    return LIMIT_REACHED
                result = shape(match.attributes, match.counts, None)
                answer = write_answer(result, asked, ae_title, is_implicit=is_implicit)
                self._send(pending, answer)
                n_sent += 1
        return SUCCESS

    def _read_pages(self, query: Query) -> Iterator[Found]:
        """Yield matches of the commit that the target stands for, own stores included."""
        view, found = self._ask(self._open(replace(query, limit=FIRST_PAGE)))
        yield found
        offset, limit = FIRST_PAGE, FIRST_PAGE
        while found.has_more:
            limit = min(limit * PAGE_GROWTH, LARGEST_PAGE)
            found = self._ask(self._read_on(view, replace(query, offset=offset, limit=limit)))
            yield found
            offset += limit

    async def _open(self, query: Query) -> tuple[View, Found]:
        if self._line.depot is not None:
            await self._line.depot.commit()
        return await read_view(
            self._repository,
            self._target.dataset,
            self._target.revision,
            lambda connection, view: find(connection, self._repository, view, query),
        )

    async def _read_on(self, view: View, query: Query) -> Found:
        def read(connection: sa.Connection) -> Found:
            return find(connection, self._repository, view, query)

        return await self._repository.archive.database.read(read)

    def _wait_for_peer(self) -> bool:
        """Wait until the peer has taken most answers; return whether it is still there."""
        while not self._line.is_over:
            if self._line.dul.to_provider_queue.qsize() < UNSENT_PDUS:
                return True
            time.sleep(UNSENT_POLL_S)
        return False

    def _send(self, status: int, identifier: bytes | None = None) -> None:
        self._response.Status = status
        self._response.Identifier = None if identifier is None else BytesIO(identifier)
        self._line.dimse.send_msg(self._response, self._context_id)

    def _end(self, status: int, comment: str, tag: str | None = None) -> None:
        if comment:
            self._response.ErrorComment = comment[:COMMENT_LENGTH]
        if tag is not None:
            self._response.OffendingElement = int(tag, 16)
        self._send(status)


def _read_request(
    request: C_FIND, context: PresentationContext, extensions: Extensions
) -> FindRequest:
    """Return what is asked.

    Raises:
        SopClassNotSupported: The context is not one for queries, or the request's class another.
        InvalidRequest: As `read_identifier`.
    """
    sop_class_uid = str(context.abstract_syntax)
    root = ROOTS.get(sop_class_uid)
    if root is None or str(request.AffectedSOPClassUID) != sop_class_uid:
        raise SopClassNotSupported("This presentation context is not for this query.")
    encoded = request.Identifier.getvalue() if request.Identifier is not None else b""
    return read_identifier(encoded, context.transfer_syntax[0], root, extensions)


def _choose_status(error: LamellaError) -> int:
    """Return the status of PS3.4 Table C.4-1 for an error."""
    known = (WRONG_CONTEXT, OUT_OF_RESOURCES, IDENTIFIER_MISMATCH)
    return error.dimse_status if error.dimse_status in known else UNABLE_TO_PROCESS
