"""DIMSE by hand: PDUs as bytes, right or wrong, for what no library lets its caller send.

Source:
    PS3.8 §9.3 (PDUs), Annex E (message control header); PS3.7 §6.3.1 and §9.3 (command sets).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

VERIFICATION = "1.2.840.10008.1.1"
PATIENCE_S = 30.0

ACCEPT, REJECT, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
COMMAND, LAST = 0x01, 0x02
C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
NO_DATA_SET = 0x0101


def make_pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a PDU; `length` lies about the body's."""
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def make_associate_rq(
    contexts: Iterable[tuple[str, str]] = ((VERIFICATION, ImplicitVRLittleEndian),),
    *,
    called: str = "LAMELLA",
    calling: str = "ATTACKER",
    user_items: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ of contexts (SOP class, transfer syntax) with IDs 1, 3, 5…"""
    items = _make_item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (sop_class_uid, transfer_syntax_uid) in enumerate(contexts):
        body = bytes([2 * number + 1, 0, 0, 0])
        body += _make_item(0x30, sop_class_uid.encode())
        items += _make_item(0x20, body + _make_item(0x40, transfer_syntax_uid.encode()))
    user = _make_item(0x51, struct.pack(">L", 16384)) + _make_item(0x52, b"1.2.3.4")
    items += _make_item(0x50, user + user_items)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    return make_pdu(0x01, struct.pack(">HH", 1, 0) + titles + bytes(32) + items)


def make_p_data(value: bytes, control: int, context_id: int = 1) -> bytes:
    """Return a P-DATA-TF of one value."""
    item = struct.pack(">LBB", len(value) + 2, context_id, control) + value
    return make_pdu(P_DATA, item)


def make_command(**elements: int | str) -> bytes:
    """Return a command set: numbers are US, texts UI; names are `e0100` for (0000,0100)."""
    body = b""
    for name, value in sorted(elements.items()):
        encoded = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        encoded += b"\0" * (len(encoded) % 2)
        body += struct.pack("<HHL", 0, int(name[1:], 16), len(encoded)) + encoded
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def make_echo_rq(message_id: int = 1) -> bytes:
    """Return the PDU of a C-ECHO request."""
    command = make_command(e0002=VERIFICATION, e0100=C_ECHO_RQ, e0110=message_id, e0800=NO_DATA_SET)
    return make_p_data(command, COMMAND | LAST)


def make_store_rq(sop_uid: str, sop_class_uid: str = SecondaryCaptureImageStorage) -> bytes:
    """Return the PDU of a C-STORE request, whose data set has to follow."""
    command = make_command(
        e0002=sop_class_uid, e0100=C_STORE_RQ, e0110=1, e0700=0, e0800=0, e1000=sop_uid
    )
    return make_p_data(command, COMMAND | LAST)


class Wire:
    """One connection to a door."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """Drop the connection with an RST rather than a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_pdu(self) -> tuple[int, bytes]:
        """Return kind and body of the next PDU; (0, b"") once the door has closed."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        kind, _, length = struct.unpack(">BBL", head)
        return kind, self._read(length)

    def read_to_end(self) -> None:
        """Read until the door has closed, however it does."""
        while self._read(65536):
            continue

    def associate(self, *contexts: tuple[str, str]) -> int:
        """Request an association; return the kind of PDU that answered."""
        self.send(make_associate_rq(contexts) if contexts else make_associate_rq())
        return self.read_pdu()[0]

    def associate_for_storage(self) -> int:
        """Request an association for Secondary Captures; return the kind of the answer."""
        return self.associate((SecondaryCaptureImageStorage, ExplicitVRLittleEndian))

    def read_status(self) -> int:
        """Return the status of the next response."""
        kind, body = self.read_pdu()
        assert kind == P_DATA, kind
        offset = 6
        while offset < len(body):
            _, element, length = struct.unpack_from("<HHL", body, offset)
            if element == 0x0900:
                return int(struct.unpack_from("<H", body, offset + 8)[0])
            offset += 8 + length
        raise AssertionError("The response has no status.")

    def _read(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count and (more := self.socket.recv(count - len(data))):
                data += more
        except ConnectionResetError:
            pass  # as good as an end
        return data


def echo(port: int) -> int:
    """Associate, echo, release; return the echo's status."""
    with Wire(port) as wire:
        assert wire.associate() == ACCEPT
        wire.send(make_echo_rq())
        status = wire.read_status()
        wire.send(make_pdu(RELEASE_RQ, bytes(4)))
        assert wire.read_pdu()[0] == RELEASE_RP
        return status


def _make_item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body
