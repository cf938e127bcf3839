"""PDUs between the socket and the association: bounded, woken by events, copied once.

pynetdicom's provider looks every millisecond whether something is there, and reads 4 KiB at a
time. With many associations that is most of what a server does, so here a thread sleeps in
`poll` until the peer or its own side has something, and reads whole PDUs. Data of an established
association goes to its receiver at once, without pynetdicom's queues and state machine, in which
they would come to the same.
"""

from __future__ import annotations

import logging
import queue
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from lamella.dimse_gateway.metrics import TLS_FAILURES
from lamella.dimse_gateway.pdu_buffer import (
    HEADER_BYTES,
    LITTLE_BYTES,
    WINDOW_BYTES,
    Pdu,
    PduBuffer,
)
from lamella.dimse_gateway.proposals import AssociateRequestPdu, insert_outcomes

LOGGER = logging.getLogger(__name__)

MAXIMUM_PDU_BYTES = 256 << 10  # what peers are asked to keep to
LONGEST_PDU_BYTES = 1 << 20  # what is read at all: the rest is junk, or somebody's attack
HANDSHAKE_TIMEOUT_S = 30.0
RECORD_BYTES = 16 << 10  # of TLS: RFC 8446 §5.1
POLL_TIMEOUT_S = 0.5  # how often timers are looked at while nothing happens

_A_ASSOCIATE_RQ, _P_DATA_TF = 0x01, 0x04
_KINDS = frozenset(range(1, 8))
_TIME = struct.Struct("@ll")  # timeval of socket(7): seconds, microseconds
_DATA_TRANSFER = "Sta6"  # states and events: PS3.8 Table 9-10
_DATA_CAME, _CONNECTION_CLOSED, _INVALID_PDU = "Evt10", "Evt17", "Evt19"
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux
_PDV_HEADER = struct.Struct(">IB")


class InvalidPdu(Exception):
    """The peer sent a PDU of a type that does not exist."""


class DataPdu:
    """A P-DATA-TF PDU whose values are views into the bytes that were read.

    Source:
        PS3.8 §9.3.5.
    """

    def __init__(self, items: memoryview) -> None:
        self._values = list(_split_values(items))

    def to_primitive(self) -> P_DATA:
        """Return the indication for the DIMSE provider."""
        primitive = P_DATA()
        primitive._presentation_data_value_list = self._values
        return primitive


class WakingQueue(queue.Queue[Any]):
    """A queue that tells someone who waits for more than this queue."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake_waiter = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._wake_waiter()


class GatewaySocket(AssociationSocket):  # type: ignore[misc]
    """The connection of one association.

    Attributes:
        timeout_s: How long a PDU that began may take to arrive, and a send to be taken.
    """

    def __init__(self, association: Any, client_socket: socket.socket, timeout_s: float) -> None:
        super().__init__(association, client_socket=client_socket)
        self.timeout_s = timeout_s
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._limit_waits(client_socket)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._wake_reader, select.POLLIN)
        self._poll.register(client_socket, select.POLLIN)
        self._client_fd = client_socket.fileno()
        self._buffer = PduBuffer()

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits for that, a wake-up, or a moment."""
        if self.socket is None or not self._is_connected or self.socket.fileno() < 0:
            return False
        if self._buffer.n_bytes:
            return True
        waits = self.event_queue.empty() and self.provider_queue.empty()
        ready = {fd for fd, _ in self._poll.poll(POLL_TIMEOUT_S * 1000 if waits else 0)}
        if self._wake_reader.fileno() in ready:
            self._drain()
        return self._client_fd in ready

    def read_pdu(self) -> Pdu | None:
        """Return the next PDU, or None if the peer closes before it is whole.

        Raises:
            InvalidPdu: There is no such type of PDU.
            OSError: It is too long, the connection broke, or the peer is too slow.
        """
        if self.socket is None:
            raise OSError("The connection is closed.")
        deadline = time.monotonic() + self.timeout_s
        while (missing := self._count_missing()) > 0:
            if not self._read_some(missing):
                return None
            if time.monotonic() > deadline and self._count_missing() > 0:
                raise TimeoutError("The peer began a PDU and did not finish it.")
        return self._buffer.take()

    def look_ahead(self) -> bool:
        """Tell whether more of a data set is there, without waiting; some of it is read then.

        Raises:
            OSError: The connection broke.
        """
        if self._buffer.n_bytes or self.socket is None:
            return bool(self._buffer.n_bytes)
        room = self._buffer.make_room(WINDOW_BYTES)
        try:
            self._buffer.add(self.socket.recv_into(room, len(room), socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        return True

    def secure(self) -> None:
        """Agree with the peer on keys, where the connection is to be secured.

        Raises:
            OSError: The peer and its certificate will not do, or it is too slow.
        """

    def wake(self) -> None:
        """Let `ready` return at once, from any thread."""
        try:
            self._wake_writer.send(b"\0")
        except OSError:
            return  # full, which wakes as well, or closed, where nobody waits

    def hang_up(self) -> None:
        """End the connection from any thread; the provider's thread then closes it."""
        sock = self.socket
        if sock is None:
            return
        try:
            # Not SSLSocket's own: until that is done, it would send without encryption.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            LOGGER.debug("The peer was gone before the connection was shut down.")

    def release(self) -> None:
        """Give back what only the provider's thread used, after that has ended."""
        self._shutdown_socket()
        self._wake_reader.close()
        self._wake_writer.close()

    def _limit_waits(self, client_socket: socket.socket) -> None:
        """Let the system end what takes too long: one call then waits for the whole of a PDU."""
        client_socket.settimeout(None)
        seconds = int(self.timeout_s)
        limit = _TIME.pack(seconds, int((self.timeout_s - seconds) * 1e6))
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def _count_missing(self) -> int:
        """Return how many bytes the next PDU lacks, as far as is known.

        Raises:
            InvalidPdu: There is no such type of PDU.
            OSError: It is too long.
        """
        kind, length = self._buffer.kind, self._buffer.next_bytes
        if kind is not None and kind not in _KINDS:
            self._buffer = PduBuffer()  # nobody knows where the next one begins
            raise InvalidPdu(f"There is no PDU of type {kind}.")
        if length > LONGEST_PDU_BYTES:
            raise OSError(f"A PDU of {length} bytes is longer than any that is read.")
        return length - self._buffer.n_bytes

    def _read_some(self, missing_bytes: int) -> int:
        """Read the beginning of something and what is there behind it, or all that is missing."""
        is_begun = self._buffer.n_bytes > 0
        if is_begun:
            self.acknowledge()
        room = self._buffer.make_room(LITTLE_BYTES)
        count = self._receive(room[:missing_bytes] if is_begun else room, waits=is_begun)
        self._buffer.add(count)
        return count

    def _receive(self, view: memoryview, *, waits: bool) -> int:
        """Read into a view: as much as it holds, or as is there."""
        if self.socket is None:
            return 0
        return int(self.socket.recv_into(view, len(view), socket.MSG_WAITALL if waits else 0))

    def _shutdown_socket(self) -> None:
        self.hang_up()
        if self.socket is not None:
            self.socket.close()

    def acknowledge(self) -> None:
        """Acknowledge at once what was read, as far as the system can.

        Senders that write a command and its data set apart, or the header of a PDU and the rest,
        with Nagle's algorithm on (DCMTK does both), hold the second back until then: 40 ms.
        """
        if self.socket is not None and _QUICKACK is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _drain(self) -> None:
        try:
            while len(self._wake_reader.recv(4096)) == 4096:
                continue
        except BlockingIOError:
            return


class SecureSocket(GatewaySocket):
    """A connection over TLS; the provider's thread makes it secure, reads and writes."""

    def __init__(self, association: Any, client_socket: ssl.SSLSocket, timeout_s: float) -> None:
        super().__init__(association, client_socket, timeout_s)
        self._secured = client_socket
        self._ahead = memoryview(b"")

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits for that, a wake-up, or a moment."""
        if self._buffer.n_bytes or self._ahead:
            return True
        if self.socket is not None and self._secured.pending():
            return True
        return super().ready and self._read_ahead()

    def secure(self) -> None:
        """Agree with the peer on keys.

        Raises:
            OSError: The peer and its certificate will not do, or it is too slow.
        """
        self._secured.settimeout(HANDSHAKE_TIMEOUT_S)
        self._secured.do_handshake()
        self._secured.settimeout(self.timeout_s)

    def _read_ahead(self) -> bool:
        """Decrypt what came: it may be news of the protocol, and nothing for us."""
        self._secured.settimeout(0)
        try:
            self._ahead = memoryview(self._secured.recv(RECORD_BYTES))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True  # who reads next is told
        finally:
            self._secured.settimeout(self.timeout_s)
        return True

    def _limit_waits(self, client_socket: socket.socket) -> None:
        client_socket.settimeout(self.timeout_s)  # of several records, and both ways at once

    def look_ahead(self) -> bool:
        """Tell nothing: who waits for more looks whether it is ready."""
        return False

    def _receive(self, view: memoryview, *, waits: bool) -> int:
        if not self._ahead:
            return int(self._secured.recv_into(view))
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count


class GatewayProvider(DULServiceProvider):  # type: ignore[misc]
    """The upper layer of one association, in a thread that sleeps until something happens.

    Attributes:
        has_ended: Whether nothing will be sent or received any more.
        outcomes: Presentation context items of the acceptance, encoded.
    """

    def __init__(self, association: Any) -> None:
        super().__init__(association)
        self.daemon = True
        self._run_loop_delay = 0  # `ready` waits instead
        self.to_user_queue = WakingQueue(association.wake)
        self.has_ended = False
        self.outcomes = b""

    def run_reactor(self) -> None:
        """Run until the association is over; a peer's nonsense ends it, never the server."""
        try:
            if self._is_secured():
                super().run_reactor()
        except Exception as error:  # noqa: BLE001  (peers may send anything)
            LOGGER.warning(
                "An association broke the upper layer protocol: %s", type(error).__name__
            )
            self.state_machine.current_state = "Sta1"
            self._kill_thread = True
        finally:
            self.socket.release()
            self.has_ended = True
            self.assoc._dul_ready.set()  # for who waits for the beginning
            self.to_user_queue.put(None)  # for who still waits for an association request

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive for sending, and wake the thread that sends."""
        super().send_pdu(primitive)
        self._wake_self()

    def _send(self, pdu: Any) -> None:
        """Send a PDU; into an acceptance go the outcomes, which are encoded already."""
        if isinstance(pdu, A_ASSOCIATE_AC) and self.socket is not None:
            self.socket.send(insert_outcomes(pdu.encode(), self.outcomes))
        else:
            super()._send(pdu)

    def kill_dul(self) -> None:
        """Let the thread end."""
        super().kill_dul()
        self._wake_self()

    def stop_dul(self) -> bool:
        """End the thread if its association is over; tell whether it was."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True

    def _is_secured(self) -> bool:
        try:
            self.socket.secure()
        except OSError as error:
            TLS_FAILURES.inc()
            reason = getattr(error, "reason", None) or type(error).__name__
            LOGGER.info("A connection could not be secured", extra={"reason": reason})
            return False
        return True

    def _wake_self(self) -> None:
        if self.socket is not None:
            self.socket.wake()

    def _read_pdu_data(self) -> None:
        """Read PDUs: data as long as they come, anything else alone."""
        try:
            while (pdu := self.socket.read_pdu()) is not None:
                self.socket.acknowledge()
                if pdu.kind != _P_DATA_TF or self.state_machine.current_state != _DATA_TRANSFER:
                    self._queue_pdu(pdu)
                    return
                self._receive_data(pdu.items)
                if not self._may_go_on() or not self._is_more_there():
                    return
        except InvalidPdu:
            self.event_queue.put(_INVALID_PDU)
        except OSError:
            self.event_queue.put(_CONNECTION_CLOSED)
        else:
            self.event_queue.put(_CONNECTION_CLOSED)

    def _is_more_there(self) -> bool:
        """Tell whether the peer goes on; within a data set mostly it has."""
        if self.assoc.dimse.is_in_data_set and self.socket.look_ahead():
            return True
        return bool(self.socket.ready)

    def _queue_pdu(self, read: Pdu) -> None:
        """Let the state machine have a PDU."""
        try:
            pdu, event = self._decode_pdu(bytearray(read.data))
        except Exception as error:  # noqa: BLE001  (peers may send anything)
            LOGGER.info("A PDU cannot be read", extra={"reason": type(error).__name__})
            self.event_queue.put(_INVALID_PDU)
            return
        self.event_queue.put(event)
        self._recv_pdu.put(pdu)

    def _receive_data(self, items: memoryview) -> None:
        """Do what the state machine does with data of an established association.

        Source:
            PS3.8 Table 9-10 (Evt10 in Sta6: DT-2, and it stays Sta6).
        """
        try:
            primitive = DataPdu(items).to_primitive()
        except ValueError:
            self.event_queue.put(_INVALID_PDU)
            return
        self.assoc.dimse.receive_primitive(primitive)
        self._idle_timer.restart()

    def _may_go_on(self) -> bool:
        """Tell whether nobody but the peer wants something."""
        is_wanted = self._kill_thread or self.artim_timer.expired
        return not is_wanted and self.event_queue.empty() and self.to_provider_queue.empty()

    def _decode_pdu(self, bytestream: bytearray) -> tuple[Any, str]:
        if bytestream[0] == _A_ASSOCIATE_RQ:
            return AssociateRequestPdu(bytes(bytestream)), "Evt6"
        if bytestream[0] == _P_DATA_TF:
            return DataPdu(memoryview(bytestream)[HEADER_BYTES:]), _DATA_CAME
        decoded: tuple[Any, str] = super()._decode_pdu(bytestream)
        return decoded


def _split_values(items: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (presentation context ID, value with its control header) of a P-DATA-TF PDU's items.

    Raises:
        ValueError: There is none, or the lengths do not add up.
    """
    offset = 0
    if not items:
        raise ValueError("A P-DATA-TF has no presentation data value.")
    while offset < len(items):
        if offset + 6 > len(items):
            raise ValueError("A presentation data value is cut off.")
        length, context_id = _PDV_HEADER.unpack_from(items, offset)
        end = offset + 4 + length
        if length < 2 or end > len(items):
            raise ValueError("A presentation data value has a length that cannot be.")
        yield context_id, items[offset + 5 : end]
        offset = end
