"""C-GET and C-MOVE: from a request to its last answer, all of one commit.

The association's thread sends instance after instance and tells after each how far it is; between
any two it looks for a C-CANCEL. A C-GET's instances go back on the same association, a C-MOVE's on
one that is requested of its destination.

Source:
    PS3.4 §C.4.2 (C-MOVE), §C.4.3 (C-GET); PS3.7 §9.1.3 and §9.1.4.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.presentation import PresentationContext

from lamella.archive.query import Query
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.calling import Call
from lamella.dimse_gateway.carriers import (
    WARNINGS,
    CallCarrier,
    Carrier,
    send_instance,
)
from lamella.dimse_gateway.commands import (
    C_GET_RSP,
    C_MOVE_RSP,
    COMMENT_LENGTH,
    Originator,
    SubOperations,
    build_retrieve_response,
    build_store_request,
)
from lamella.dimse_gateway.data_sets import Outgoing, Transcoder
from lamella.dimse_gateway.depot import Depot
from lamella.dimse_gateway.failures import log_failure
from lamella.dimse_gateway.finding import (
    CANCELLED,
    IDENTIFIER_MISMATCH,
    OUT_OF_RESOURCES,
    PENDING,
    SUCCESS,
    UNABLE_TO_PROCESS,
    WRONG_CONTEXT,
    Ask,
)
from lamella.dimse_gateway.identifiers import (
    GET_ROOTS,
    MOVE_ROOTS,
    Extensions,
    read_retrieve_identifier,
    write_failures,
)
from lamella.dimse_gateway.outflow import Buffer
from lamella.dimse_gateway.peers import Peer
from lamella.dimse_gateway.stock import Stock, open_stock
from lamella.errors import LamellaError, PeerUnavailable, SopClassNotSupported
from lamella.imaging.explicit import DecodeFrame
from lamella.vcs.repository import Repository

LOGGER = logging.getLogger(__name__)

SOME_FAILED: Final = 0xB000
ALL_FAILED: Final = 0xA702
UNKNOWN_DESTINATION: Final = 0xA801


class Line(Protocol):
    """What is needed of the association that asked."""

    depot: Depot | None
    dimse: Any

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for answers any more."""
        ...

    @property
    def receiving_contexts(self) -> Mapping[tuple[str, str], int]:
        """Contexts in which the peer takes instances, by SOP class and transfer syntax."""
        ...

    @property
    def calling_ae_title(self) -> str:
        """Who asked."""
        ...

    def write(
        self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None = None
    ) -> None:
        """Send a message.

        Raises:
            PeerUnavailable: The peer is gone.
        """
        ...

    def await_store_response(self, message_id: int) -> int:
        """Return the status that a C-STORE of ours is answered.

        Raises:
            PeerUnavailable: The peer is gone, or does not answer.
        """
        ...


class Callers(Protocol):
    """What is needed of the gateway for calls of its own."""

    async def find_destination(self, ae_title: str) -> Peer | None:
        """Return the peer that a C-MOVE names, or None."""
        ...

    def call(self, peer: Peer, ae_title: str, kinds: Iterable[tuple[str, str]]) -> Call:
        """Associate with a peer to send it instances of these kinds.

        Raises:
            PeerUnavailable: It is not there, or rejects.
        """
        ...


class LineCarrier:
    """Sends back on the association of a C-GET."""

    def __init__(self, line: Line) -> None:
        self.contexts = line.receiving_contexts
        self._line = line
        self._message_id = 0

    def carry(self, context_id: int, outgoing: Outgoing, pieces: Iterable[Buffer]) -> int:
        """Send one instance and return the status it is answered.

        Raises:
            PeerUnavailable: The peer is gone.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        one = outgoing.instance
        command = build_store_request(self._message_id, one.entry.sop_class_uid, one.sop_uid)
        self._line.dimse.awaits_response = True  # before it can come
        self._line.write(context_id, command, pieces)
        return self._line.await_store_response(self._message_id)


@dataclass(slots=True)
class Progress:
    """What has become of the instances of one retrieve.

    Attributes:
        failed_uids: Those that did not arrive.
    """

    remaining: int
    completed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)

    @property
    def counts(self) -> SubOperations:
        """How many met which fate."""
        return SubOperations(self.remaining, self.completed, len(self.failed_uids), self.warning)

    def note(self, sop_uid: str, status: int) -> None:
        """Note how one ended."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status in WARNINGS:
            self.warning += 1
        else:
            self.failed_uids.append(sop_uid)

    def choose_status(self) -> int:
        """Return the final status, of PS3.4 Tables C.4-2 and C.4-3."""
        if not self.failed_uids:
            return SOME_FAILED if self.warning else SUCCESS
        return SOME_FAILED if self.completed or self.warning else ALL_FAILED


class Retrieving:
    """Serves one C-GET or C-MOVE in its association's thread.

    Args:
        line: The association.
        repository: Where to look.
        target: The revision that is asked.
        ask: Runs work on the event loop.
        decode: Decodes one frame.
        callers: Whom a C-MOVE sends to.
    """

    def __init__(
        self,
        line: Line,
        repository: Repository,
        target: AeTarget,
        ask: Ask,
        decode: DecodeFrame,
        callers: Callers,
    ) -> None:
        self._line = line
        self._repository = repository
        self._target = target
        self._ask = ask
        self._decode = decode
        self._callers = callers

    def serve(
        self,
        request: C_GET | C_MOVE,
        context: PresentationContext,
        extensions: Extensions,
        ae_title: str,
    ) -> int:
        """Send all instances and answers, and return the final one's status.

        Raises:
            PeerUnavailable: The association is over.
        """
        self._message_id = int(request.MessageID)
        self._sop_class_uid = str(context.abstract_syntax)
        self._context_id = int(context.context_id)
        self._is_implicit = bool(context.transfer_syntax[0].is_implicit_VR)
        self._field = C_MOVE_RSP if isinstance(request, C_MOVE) else C_GET_RSP
        try:
            query = self._read_query(request, context, extensions)
            if isinstance(request, C_MOVE):
                return self._move(query, str(request.MoveDestination).strip(), ae_title)
            return self._get(query)
        except PeerUnavailable:
            raise
        except LamellaError as error:
            known = (WRONG_CONTEXT, OUT_OF_RESOURCES, IDENTIFIER_MISMATCH)
            status = error.dimse_status if error.dimse_status in known else UNABLE_TO_PROCESS
            return self._refuse(status, error.detail)
        except Exception as error:  # noqa: BLE001  (the peer gets an answer, whatever happens)
            log_failure(LOGGER, "A retrieve failed", error)
            return self._refuse(UNABLE_TO_PROCESS, "The retrieve failed.")

    def _read_query(
        self, request: C_GET | C_MOVE, context: PresentationContext, extensions: Extensions
    ) -> Query:
        roots = MOVE_ROOTS if isinstance(request, C_MOVE) else GET_ROOTS
        root = roots.get(self._sop_class_uid)
        if root is None or str(request.AffectedSOPClassUID) != self._sop_class_uid:
            raise SopClassNotSupported("This presentation context is not for this retrieve.")
        encoded = request.Identifier.getvalue() if request.Identifier is not None else b""
        return read_retrieve_identifier(encoded, context.transfer_syntax[0], root, extensions)

    def _get(self, query: Query) -> int:
        stock: Stock = self._ask(self._open(query, with_kinds=False))
        return self._carry_all(stock, LineCarrier(self._line))

    def _move(self, query: Query, destination: str, ae_title: str) -> int:
        peer: Peer | None = self._ask(self._callers.find_destination(destination))
        if peer is None:
            return self._refuse(UNKNOWN_DESTINATION, "The move destination is not a known peer.")
        stock: Stock = self._ask(self._open(query, with_kinds=True))
        if not stock.total:
            return self._carry_all(stock, None)
        try:
            call = self._callers.call(peer, ae_title, stock.kinds)
        except PeerUnavailable as error:
            LOGGER.warning("A C-MOVE cannot send: %s", error.detail)
            return self._carry_all(stock, None)
        originator = Originator(self._line.calling_ae_title, self._message_id)
        with call:
            return self._carry_all(stock, CallCarrier(call, originator))

    async def _open(self, query: Query, *, with_kinds: bool) -> Stock:
        if self._line.depot is not None:
            await self._line.depot.commit()
        target = self._target
        return await open_stock(
            self._repository, target.dataset, target.revision, query, with_kinds=with_kinds
        )

    def _carry_all(self, stock: Stock, carrier: Carrier | None) -> int:
        """Send all there is; without a carrier, all of it fails."""
        progress = Progress(stock.total)
        transcoder = Transcoder(
            self._ask,
            stock.read_document,
            self._decode,
            self._repository.archive.spool_folder,
        )
        for outgoing in self._walk(stock):
            if self._is_cancelled():
                return self._end(CANCELLED, progress)
            status = ALL_FAILED
            if carrier is not None:
                try:
                    status = send_instance(carrier, outgoing, transcoder)
                except PeerUnavailable as error:
                    if isinstance(carrier, LineCarrier):
                        raise
                    LOGGER.warning("A C-MOVE breaks off: %s", error.detail)
                    carrier = None
            progress.note(outgoing.instance.sop_uid, status)
            if progress.remaining:
                self._answer(PENDING, progress.counts)
        return self._end(progress.choose_status(), progress)

    def _walk(self, stock: Stock) -> Iterator[Outgoing]:
        while page := self._ask(stock.take_page()):
            yield from page

    def _is_cancelled(self) -> bool:
        if self._line.is_over:
            raise PeerUnavailable("The association is over.")
        return self._message_id in self._line.dimse.cancel_req

    def _end(self, status: int, progress: Progress) -> int:
        uids = progress.failed_uids
        identifier = write_failures(uids, is_implicit=self._is_implicit) if uids else None
        self._answer(status, progress.counts, identifier)
        return status

    def _refuse(self, status: int, comment: str) -> int:
        self._answer(status, None, comment=comment)
        return status

    def _answer(
        self,
        status: int,
        counts: SubOperations | None,
        identifier: bytes | None = None,
        comment: str = "",
    ) -> None:
        command = build_retrieve_response(
            self._field,
            self._message_id,
            self._sop_class_uid,
            status,
            counts,
            tells_remaining=status in (PENDING, CANCELLED),
            has_data_set=identifier is not None,
            comment=comment[:COMMENT_LENGTH],
        )
        data_set = None if identifier is None else [identifier]
        self._line.write(self._context_id, command, data_set)
