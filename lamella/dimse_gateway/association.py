"""One association: who may have it, what it may do, and what becomes visible when it ends."""

from __future__ import annotations

import asyncio
import logging
import queue
import ssl
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Protocol, TypeVar

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from lamella.archive.installation import Archive
from lamella.archive.part10 import build_file_meta
from lamella.archive.threads import run_here
from lamella.dimse_gateway.admission import Admission
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.commands import Answer, Response, StoreCommand, build_store_response
from lamella.dimse_gateway.committing import Committing
from lamella.dimse_gateway.delivery import Delivery
from lamella.dimse_gateway.depot import Depot
from lamella.dimse_gateway.failures import log_failure
from lamella.dimse_gateway.finding import Finding
from lamella.dimse_gateway.guard import Guard
from lamella.dimse_gateway.identifiers import NOT_EXTENDED, Extensions
from lamella.dimse_gateway.metrics import (
    ASSOCIATIONS,
    FINDS,
    RETRIEVES,
    STORE_SECONDS,
    STORES,
)
from lamella.dimse_gateway.negotiation import is_storage_class
from lamella.dimse_gateway.outflow import Buffer, cut_message, write_message
from lamella.dimse_gateway.reception import Reception, StoreRequest
from lamella.dimse_gateway.rejection import TEMPORARY_CONGESTION, Rejection
from lamella.dimse_gateway.retrieving import Callers, Retrieving
from lamella.dimse_gateway.transport import POLL_TIMEOUT_S, GatewayProvider
from lamella.errors import PeerUnavailable, SopClassNotSupported
from lamella.imaging.pool import DecoderPool
from lamella.vcs.repository import Repository

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

RELEASE_PATIENCE_S = 10.0  # peers wait some 30 s for an answer to their release
_UNSENT_PDUS = 8  # more would be held for a peer that does not read
_UNSENT_POLL_S = 0.005


class House(Callers, Protocol):
    """What an association needs of the gateway it belongs to."""

    loop: asyncio.AbstractEventLoop
    archive: Archive
    repository: Repository
    guard: Guard
    transfer_syntaxes: frozenset[str]
    decoders: DecoderPool

    def count_associations(self, host: str) -> int:
        """Return how many associations from an address there are, or are asked for."""
        ...

    async def admit(self, called_ae_title: str, calling_ae_title: str) -> AeTarget | Rejection:
        """Return where an association lands, or why it is rejected."""
        ...

    def open_depot(self, target: AeTarget, calling_ae_title: str) -> Depot:
        """Return the depot of a new association."""
        ...

    async def close_depot(self, depot: Depot) -> None:
        """Commit what is in a depot whose association is over."""
        ...

    def drop_depot(self, depot: Depot) -> None:
        """Forget a depot with nothing in it whose association is over."""
        ...


class GatewayAssociation(Association):  # type: ignore[misc]
    """An association that peers requested; a thread of its own runs it.

    Attributes:
        depot: What it stores; None before it is admitted.
        has_requested: Whether it is more than a connection.
        extensions: What was agreed on for a SOP class of queries.
    """

    is_established: bool

    def __init__(self, ae: ApplicationEntity, house: House) -> None:
        self._wake = threading.Event()
        super().__init__(ae, MODE_ACCEPTOR)
        self.depot: Depot | None = None
        self.extensions: dict[str, Extensions] = {}
        self._ae_target: AeTarget | None = None
        self._committing: Committing | None = None
        self.has_requested = False
        self._is_answering = False
        self._house = house
        self.acse = Admission(self)
        self.dul = GatewayProvider(self)
        self.dimse = Reception(self, self._open_delivery)
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout

    @property
    def is_busy(self) -> bool:
        """Whether the peer is in the middle of something."""
        is_receiving = bool(self.dimse.is_receiving) or not self.dimse.msg_queue.empty()
        return is_receiving or self._is_answering

    @property
    def calling_ae_title(self) -> str:
        """Who called, as it named itself."""
        return str(self.requestor.primitive.calling_ae_title).strip()

    @property
    def called_ae_title(self) -> str:
        """Who was called."""
        return str(self.requestor.primitive.called_ae_title).strip()

    @property
    def host(self) -> str:
        """The peer's network address."""
        return str(self.requestor.address_info.address)

    @property
    def guard(self) -> Guard:
        """What judges its peer."""
        return self._house.guard

    @property
    def transfer_syntaxes(self) -> frozenset[str]:
        """Private transfer syntaxes in which instances may come."""
        return self._house.transfer_syntaxes

    def describe(self) -> dict[str, str]:
        """Return what a line of the log says of it."""
        return {
            "calling": self.calling_ae_title,
            "called": self.called_ae_title,
            "peer": self.host,
        }

    def wake(self) -> None:
        """Let the association's thread look at its queues, from any thread."""
        self._wake.set()

    def seek_admission(self) -> Rejection | None:
        """Ask the gateway whether this association may be; None if it may."""
        rejection = self._judge_requestor()
        if rejection is not None:
            return rejection
        try:
            target = self._run(self._house.admit(self.called_ae_title, self.calling_ae_title))
        except Exception as error:  # noqa: BLE001  (the peer gets an answer, whatever happens)
            log_failure(LOGGER, "An association could not be judged", error)
            return TEMPORARY_CONGESTION
        if isinstance(target, Rejection):
            return target
        self._ae_target = target
        self._committing = Committing(self, self._house.repository, target, self._ask)
        self.depot = self._house.open_depot(target, self.calling_ae_title)
        return None

    def _judge_requestor(self) -> Rejection | None:
        host, self.has_requested = self.host, True
        others = self._house.count_associations(host) - 1
        return self.guard.judge_peer(host, others) or self.guard.judge_identity(
            self.requestor.user_identity
        )

    def run_reactor(self) -> None:
        """Run the association from its request to its end, and commit what it stored."""
        ASSOCIATIONS.inc()
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001  (what it stored is committed all the same)
            log_failure(LOGGER, "An association broke down", error)
        finally:
            ASSOCIATIONS.dec()
            self._end_provider()
            for delivery in self.dimse.take_unfinished():
                self._ask(delivery.abandon())
            if self.depot is not None:
                self._close_depot(self.depot)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for answers any more."""
        return bool(self._kill or self.dul.has_ended or self.acse.is_aborted())

    def cut_off(self) -> None:
        """Abort from any thread, without waiting for the end of it."""
        if self.is_established:
            self.abort(block=False)
        else:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection on a peer that an abort does not reach."""
        self.dul.socket.hang_up()

    def _run_reactor(self) -> None:
        self._is_paused = False
        while not self._kill:
            self._wake.wait(POLL_TIMEOUT_S)
            self._wake.clear()
            self._is_paused = True
            self._reactor_checkpoint.wait()
            self._is_paused = False
            self._serve_messages()
            if self._has_ended():
                self.kill()
                return

    def _serve_messages(self) -> None:
        while not self._kill:
            context_id, message = self.dimse.get_msg(block=False)
            if message is None:
                return
            self._serve_request(message, context_id)
            self.dul._idle_timer.restart()  # our own work is not the peer's silence

    def _has_ended(self) -> bool:
        if self.is_established and self.acse.is_release_requested():
            self._answer_release()
            return True
        if self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.is_aborted, self.is_established = True, False
            evt.trigger(self, evt.EVT_ABORTED, {})
            return True
        if self.dul.has_ended:
            return True
        if self.dul.idle_timer_expired() and not self.dimse.outstanding:
            LOGGER.info("An association was silent for too long and is aborted")
            self.abort()
            return True
        return False

    def _end_provider(self) -> None:
        """Make sure that the upper layer's thread ends, whatever state it is in."""
        if self.dul.is_alive() and not self.dul.has_ended:
            self.hang_up()
        self.kill()

    def _answer_release(self) -> None:
        """Let what was stored be visible, if that is soon done, by the time the peer goes on."""
        if self.depot is not None and not self.depot.is_empty:
            future = self._submit(self.depot.try_commit())
            try:
                future.result(RELEASE_PATIENCE_S)
            except FutureTimeoutError:
                LOGGER.warning("A commit takes long: the association is released before it ends")
        self.acse.send_release(is_response=True)
        self.is_released, self.is_established = True, False
        evt.trigger(self, evt.EVT_RELEASED, {})

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if isinstance(msg, C_FIND) and msg.MessageIDBeingRespondedTo is None:
            self._serve_find(msg, context_id)
            return
        if isinstance(msg, C_GET | C_MOVE) and msg.MessageIDBeingRespondedTo is None:
            self._serve_retrieve(msg, context_id)
            return
        if isinstance(msg, (N_ACTION, N_EVENT_REPORT)):
            self._serve_commitment(msg, context_id)
            return
        super()._serve_request(msg, context_id)

    def serve_store(self, request: StoreRequest, context_id: int) -> None:
        """Store one instance and answer; in the upper layer's thread.

        A peer has nothing else to say before its answer, and whoever sends more all the same waits
        for that: the thread that received need not wake another.
        """
        context: PresentationContext = self._accepted_cx[context_id]
        if is_storage_class(str(context.abstract_syntax)) and self.depot is not None:
            with STORE_SECONDS.time():
                answer = self.depot.store(request.command, request.delivery, self._ask)
        else:
            self._ask(request.delivery.abandon())
            status = SopClassNotSupported.dimse_status
            answer = Answer(status, "This presentation context is not for storage.")
        STORES.labels(f"{answer.status:04X}").inc()
        self._send_answer(request.command, answer, context_id)

    def _serve_find(self, request: C_FIND, context_id: int) -> None:
        if self._ae_target is None or self.depot is None:
            return
        context: PresentationContext = self._accepted_cx[context_id]
        extensions = self.extensions.get(str(context.abstract_syntax), NOT_EXTENDED)
        self._is_answering = True
        try:
            finding = Finding(self, self._house.repository, self._ae_target, self._ask)
            status = finding.serve(request, context, extensions, self.called_ae_title)
        finally:
            self._is_answering = False
        FINDS.labels(f"{status:04X}").inc()

    def _serve_retrieve(self, request: C_GET | C_MOVE, context_id: int) -> None:
        if self._ae_target is None or self.depot is None:
            return
        context: PresentationContext = self._accepted_cx[context_id]
        extensions = self.extensions.get(str(context.abstract_syntax), NOT_EXTENDED)
        house, service = self._house, "C-MOVE" if isinstance(request, C_MOVE) else "C-GET"
        decode = house.decoders.decode_frame
        self._is_answering = True
        try:
            retrieving = Retrieving(
                self, house.repository, self._ae_target, self._ask, decode, house
            )
            status = retrieving.serve(request, context, extensions, self.called_ae_title)
        except PeerUnavailable:
            LOGGER.info("a retrieve broke off", extra=self.describe())
            self.cut_off()
            RETRIEVES.labels(service, "none").inc()
            return
        finally:
            self._is_answering = False
        RETRIEVES.labels(service, f"{status:04X}").inc()

    @property
    def receiving_contexts(self) -> Mapping[tuple[str, str], int]:
        """Contexts in which the peer takes instances, by SOP class and transfer syntax."""
        roles, found = self.requestor.role_selection, dict[tuple[str, str], int]()
        for context_id, context in self._accepted_cx.items():
            uid = context.abstract_syntax
            if uid in roles and roles[uid].scp_role and is_storage_class(str(uid)):
                found.setdefault((str(uid), str(context.transfer_syntax[0])), context_id)
        return found

    def write(
        self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None = None
    ) -> None:
        """Send a message; from the association's thread, which is free to wait for the peer.

        Raises:
            PeerUnavailable: The peer is gone, or does not read.
        """
        sock, longest = self.dul.socket.socket, int(self.dimse.maximum_pdu_size)
        try:
            if self.is_over or sock is None:
                raise PeerUnavailable("The peer is gone.")
            if isinstance(sock, ssl.SSLSocket):  # which takes no two threads
                self._queue_message(context_id, command, data_set, longest)
            else:
                write_message(sock, context_id, command, data_set, longest)
        except OSError as error:
            raise PeerUnavailable("The peer is gone.") from error

    def _queue_message(
        self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None, longest: int
    ) -> None:
        for control, fragment in cut_message(command, data_set, longest):
            while self.dul.to_provider_queue.qsize() >= _UNSENT_PDUS:
                if self.is_over:
                    raise PeerUnavailable("The peer is gone.")
                time.sleep(_UNSENT_POLL_S)
            primitive = P_DATA()
            value = bytes([control]) + fragment
            primitive.presentation_data_value_list.append((context_id, value))
            self.dul.send_pdu(primitive)

    def await_store_response(self, message_id: int) -> int:
        """Return the status that a C-STORE of ours is answered.

        Raises:
            PeerUnavailable: The peer is gone, does not answer, or does something else.
        """
        deadline = time.monotonic() + float(self.network_timeout)
        while not self.is_over and time.monotonic() < deadline:
            try:
                item = self.dimse.msg_queue.get_nowait()
            except queue.Empty:
                self._wake.wait(POLL_TIMEOUT_S)
                self._wake.clear()
                continue
            message = item[1]
            if isinstance(message, Response) and message.message_id == message_id:
                return message.status
            self.dimse.msg_queue.put(item)  # whoever tidies up has to see it
            raise PeerUnavailable("The peer does something else than answer.")
        raise PeerUnavailable("The peer does not answer.")

    def _serve_commitment(self, msg: N_ACTION | N_EVENT_REPORT, context_id: int) -> None:
        if self._committing is None:
            return
        if isinstance(msg, N_ACTION) and msg.MessageIDBeingRespondedTo is None:
            self._committing.serve(msg, self._accepted_cx[context_id])
        elif isinstance(msg, N_EVENT_REPORT) and msg.MessageIDBeingRespondedTo is not None:
            self._committing.take_answer(msg)

    def _send_answer(self, command: StoreCommand, answer: Answer, context_id: int) -> None:
        self.dimse.outstanding -= 1
        try:
            self.write(context_id, build_store_response(command, answer))
        except PeerUnavailable:
            LOGGER.info("nobody takes an answer", extra=self.describe())

    def _open_delivery(self, command: StoreCommand, context_id: int) -> Delivery:
        context: PresentationContext = self._accepted_cx[context_id]
        head = build_file_meta(
            command.sop_class_uid,
            command.sop_instance_uid,
            str(context.transfer_syntax[0]),
            self.calling_ae_title,
        )
        return Delivery(self._house.archive, self._house.loop, head)

    def _close_depot(self, depot: Depot) -> None:
        if depot.is_empty:
            self._house.drop_depot(depot)
        else:
            self._submit(self._house.close_depot(depot))

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._house.loop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what asks the database, in this thread if it may; wait for it."""
        if self._house.archive.database.works_in_threads:
            return run_here(work)
        return self._ask(work)

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the event loop and wait for it."""
        return self._submit(work).result()
