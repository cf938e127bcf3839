"""Associations that this installation requests: a blocking call in the caller's thread.

pynetdicom encodes and decodes the PDUs of association control. The rest is a socket: no thread
that polls, instances are written as they lie in their packs, and arrive where they are stored.

Source:
    PS3.8 §9.3 (PDUs); PS3.7 §9.3 (messages).
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from pydicom.uid import UID
from pynetdicom._globals import DEFAULT_MAX_LENGTH
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from lamella.archive.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from lamella.dimse_gateway.commands import (
    C_ECHO_RQ,
    C_STORE_RQ,
    Response,
    build_request,
    read_command_field,
    read_response,
    split_command,
)
from lamella.dimse_gateway.outflow import Buffer, write_message
from lamella.dimse_gateway.peers import Peer
from lamella.dimse_gateway.transport import LONGEST_PDU_BYTES, MAXIMUM_PDU_BYTES
from lamella.errors import PeerUnavailable

CONNECT_TIMEOUT_S = 10.0
ASSOCIATION_TIMEOUT_S = 30.0
RESPONSE_TIMEOUT_S = 120.0  # a peer may write to a slow disk, or search long
MOST_CONTEXTS = 128
LONGEST_DATA_SET_BYTES = 4 << 20  # of an identifier, which is held in memory

_APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")
_ACCEPT, _REJECT, _DATA, _RELEASE_RP, _ABORT = 0x02, 0x03, 0x04, 0x06, 0x07
_RELEASE_RQ = struct.pack(">BxL4x", 0x05, 4)
_ABORT_RQ = struct.pack(">BxL4x", 0x07, 4)
_COMMAND, _LAST = 0x01, 0x02

Proposal = tuple[str, Sequence[str]]
"""An abstract syntax and the transfer syntaxes for it."""

Sink = Callable[[memoryview], None]
OpenSink = Callable[[int, dict[int, bytes]], Sink]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the peer.

    Attributes:
        values: Of its command set, by element number.
        data_set: Encoded; empty if there is none, or if it went to a sink.
    """

    context_id: int
    values: dict[int, bytes]
    data_set: bytes


class Call:
    """An association with a peer, as a context manager: released at the end, aborted on errors.

    Args:
        peer: Who is called.
        ae_title: Ours.
        proposals: Presentation contexts; 128 at most.
        tls: For peers that are spoken to over TLS.
        receives: SOP classes of which we are the SCP, as where the peer sends in a C-GET.

    Attributes:
        contexts: IDs of accepted contexts by abstract and transfer syntax.

    Raises:
        PeerUnavailable: It is not there, or rejects; from any method: it is gone.
    """

    def __init__(
        self,
        peer: Peer,
        ae_title: str,
        proposals: Sequence[Proposal],
        *,
        tls: ssl.SSLContext | None = None,
        receives: Collection[str] = (),
    ) -> None:
        self.contexts: dict[tuple[str, str], int] = {}
        self._peer = peer
        self._longest_pdu_bytes = DEFAULT_MAX_LENGTH
        self._message_id = 0
        try:
            self._socket = _connect(peer, tls)
        except OSError as error:
            raise PeerUnavailable(
                f"Peer {peer.name} at {peer.address} cannot be reached."
            ) from error
        try:
            self._associate(ae_title, proposals[:MOST_CONTEXTS], receives)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def next_message_id(self) -> int:
        """Return a number for the next request."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def send(
        self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None = None
    ) -> None:
        """Send a message."""
        try:
            write_message(self._socket, context_id, command, data_set, self._longest_pdu_bytes)
        except OSError as error:
            raise PeerUnavailable(f"Peer {self._peer.name} is gone.") from error

    def receive(self, open_sink: OpenSink | None = None) -> Message:
        """Return the peer's next message.

        Args:
            open_sink: Returns what takes the data set of a C-STORE request, piece by piece.
        """
        command, values = bytearray(), dict[int, bytes]()
        data, sink = bytearray(), None
        while True:
            for context_id, control, fragment in self._read_values():
                if control & _COMMAND:
                    command += fragment
                    if not control & _LAST:
                        continue
                    values = self._split(bytes(command))
                    if not _has_data_set(values):
                        return Message(context_id, values, b"")
                    if open_sink is not None and read_command_field(values) == C_STORE_RQ:
                        sink = open_sink(context_id, values)
                    continue
                if sink is not None:
                    sink(fragment)
                else:
                    data += fragment
                if len(data) > LONGEST_DATA_SET_BYTES:
                    raise PeerUnavailable(f"Peer {self._peer.name} sends too long an answer.")
                if control & _LAST:
                    return Message(context_id, values, bytes(data))

    def receive_response(self) -> tuple[Response, bytes]:
        """Return the peer's next response, with its identifier."""
        message = self.receive()
        try:
            return read_response(message.values), message.data_set
        except ValueError as error:
            raise PeerUnavailable(f"Peer {self._peer.name} does not answer as DICOM.") from error

    def release(self) -> None:
        """End the association in good order, as far as the peer takes part in that."""
        try:
            self._socket.settimeout(ASSOCIATION_TIMEOUT_S)
            self._socket.sendall(_RELEASE_RQ)
            while self._read_pdu()[0] == _DATA:
                continue  # late answers to what was cancelled
        except (OSError, PeerUnavailable):
            return  # it is over either way
        finally:
            self._socket.close()

    def abort(self) -> None:
        """End the association at once."""
        try:
            self._socket.settimeout(1.0)
            self._socket.sendall(_ABORT_RQ)
        except OSError:
            return  # it is over either way
        finally:
            self._socket.close()

    def _associate(
        self, ae_title: str, proposals: Sequence[Proposal], receives: Collection[str]
    ) -> None:
        request = _build_request(self._peer, ae_title, proposals, receives)
        self._socket.settimeout(ASSOCIATION_TIMEOUT_S)
        try:
            self._socket.sendall(A_ASSOCIATE_RQ(request).encode())
        except OSError as error:
            raise PeerUnavailable(f"Peer {self._peer.name} is gone.") from error
        kind, pdu = self._read_pdu()
        if kind == _REJECT:
            result, source, reason = pdu[7:10]
            raise PeerUnavailable(
                f"Peer {self._peer.name} rejects the association "
                f"(result {result}, source {source}, reason {reason})."
            )
        if kind != _ACCEPT:
            raise PeerUnavailable(f"Peer {self._peer.name} aborts the association.")
        self._read_acceptance(bytes(pdu), proposals)
        self._socket.settimeout(RESPONSE_TIMEOUT_S)

    def _read_acceptance(self, pdu: bytes, proposals: Sequence[Proposal]) -> None:
        accepted = A_ASSOCIATE_AC()
        try:
            accepted.decode(pdu)
            answer = accepted.to_primitive()
            for context in answer.presentation_context_definition_results_list:
                if context.result == 0x00:
                    abstract = proposals[(context.context_id - 1) // 2][0]
                    syntax = str(context.transfer_syntax[0])
                    self.contexts.setdefault((abstract, syntax), context.context_id)
            self._longest_pdu_bytes = int(answer.maximum_length_received or 0)
        except Exception as error:  # pynetdicom fails in many ways on what peers may send
            raise PeerUnavailable(f"Peer {self._peer.name} does not speak DICOM.") from error

    def _read_values(self) -> list[tuple[int, int, memoryview]]:
        """Return (context ID, control, fragment) of the values of the next PDU."""
        kind, pdu = self._read_pdu()
        if kind != _DATA:
            raise PeerUnavailable(f"Peer {self._peer.name} ended the association.")
        view, offset, values = memoryview(pdu), 6, []
        while offset < len(view):
            if offset + 6 > len(view):
                raise PeerUnavailable(f"Peer {self._peer.name} sends a broken PDU.")
            length, context_id, control = struct.unpack_from(">LBB", view, offset)
            if length < 2 or offset + 4 + length > len(view):
                raise PeerUnavailable(f"Peer {self._peer.name} sends a broken PDU.")
            values.append((context_id, control, view[offset + 6 : offset + 4 + length]))
            offset += 4 + length
        return values

    def _read_pdu(self) -> tuple[int, bytearray]:
        try:
            head = self._read(6)
            kind, length = struct.unpack(">BxL", head)
            if length > LONGEST_PDU_BYTES:
                raise PeerUnavailable(f"Peer {self._peer.name} sends too long a PDU.")
            return int(kind), head + self._read(length)
        except OSError as error:
            raise PeerUnavailable(f"Peer {self._peer.name} does not answer.") from error

    def _read(self, length_bytes: int) -> bytearray:
        buffer = bytearray(length_bytes)
        view, count = memoryview(buffer), 0
        while count < length_bytes:
            received = self._socket.recv_into(view[count:])
            if not received:
                raise ConnectionResetError("The peer closed the connection.")
            count += received
        view.release()
        return buffer

    def _split(self, command: bytes) -> dict[int, bytes]:
        try:
            return split_command(command)
        except ValueError as error:
            raise PeerUnavailable(f"Peer {self._peer.name} does not answer as DICOM.") from error


def echo_peer(peer: Peer, ae_title: str, tls: ssl.SSLContext | None = None) -> None:
    """See whether a peer answers a C-ECHO.

    Raises:
        PeerUnavailable: It does not.
    """
    implicit = "1.2.840.10008.1.2"
    verification = str(Verification)
    with Call(peer, ae_title, [(verification, [implicit])], tls=tls) as call:
        context_id = call.contexts.get((verification, implicit))
        if context_id is None:
            raise PeerUnavailable(f"Peer {peer.name} does not offer C-ECHO.")
        call.send(context_id, build_request(C_ECHO_RQ, call.next_message_id(), verification))
        response, _ = call.receive_response()
    if response.status:
        raise PeerUnavailable(f"Peer {peer.name} answers a C-ECHO with {response.status:04X}.")


def _connect(peer: Peer, tls: ssl.SSLContext | None) -> socket.socket:
    place = peer.address.host, peer.address.port
    sock = socket.create_connection(place, CONNECT_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not peer.is_tls or tls is None:
        return sock
    try:
        return tls.wrap_socket(sock, server_hostname=peer.address.host)
    except BaseException:
        sock.close()
        raise


def _build_request(
    peer: Peer, ae_title: str, proposals: Sequence[Proposal], receives: Collection[str]
) -> A_ASSOCIATE:
    request = A_ASSOCIATE()
    request.application_context_name = _APPLICATION_CONTEXT
    request.calling_ae_title, request.called_ae_title = ae_title, peer.title
    contexts = []
    for index, (abstract, syntaxes) in enumerate(proposals):
        context = build_context(abstract, list(syntaxes))
        context.context_id = 2 * index + 1
        contexts.append(context)
    request.presentation_context_definition_list = contexts
    longest = MaximumLengthNotification()
    longest.maximum_length_received = MAXIMUM_PDU_BYTES
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    roles = []
    for abstract in sorted(set(receives)):
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = UID(abstract), False, True
        roles.append(role)
    request.user_information = [longest, class_uid, version, *roles]
    return request


def _has_data_set(values: dict[int, bytes]) -> bool:
    return values.get(0x0800, b"\x01\x01") != b"\x01\x01"
