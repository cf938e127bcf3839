"""Messages on their way out: cut into PDUs in passing, written to the socket without a copy."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Sequence

from lamella.dimse_gateway.transport import MAXIMUM_PDU_BYTES

_HEADER = struct.Struct(">BxLLBB")  # PDU type and length, value length, context ID, control
_P_DATA_TF = 0x04
_COMMAND, _LAST = 0x01, 0x02  # bits of the message control header, PS3.8 §E.2
_BUFFERS_AT_A_TIME = 512  # of the 1,024 that the system takes

Buffer = bytes | memoryview


def write_message(
    sock: socket.socket,
    context_id: int,
    command: bytes,
    data_set: Iterable[Buffer] | None,
    longest_pdu_bytes: int,
) -> None:
    """Send a command set and its data set.

    Args:
        sock: Connected, with a timeout.
        context_id: Presentation context.
        command: Encoded command set.
        data_set: Pieces of an encoded data set of even length; None for none.
        longest_pdu_bytes: That the peer takes; 0: any.

    Raises:
        OSError: The peer is gone, or does not read.

    Source:
        PS3.8 §9.3.5 and Annex E.
    """
    waiting: list[Buffer] = []
    for control, fragment in cut_message(command, data_set, longest_pdu_bytes):
        length = len(fragment)
        waiting.append(_HEADER.pack(_P_DATA_TF, length + 6, length + 2, context_id, control))
        waiting.append(fragment)
        if len(waiting) >= _BUFFERS_AT_A_TIME:
            send_buffers(sock, waiting)
            waiting.clear()
    send_buffers(sock, waiting)


def cut_message(
    command: bytes, data_set: Iterable[Buffer] | None, longest_pdu_bytes: int
) -> Iterator[tuple[int, memoryview]]:
    """Yield (message control header, fragment) of each PDU of a message.

    Source:
        PS3.8 Annex E.
    """
    longest = min(longest_pdu_bytes or MAXIMUM_PDU_BYTES, MAXIMUM_PDU_BYTES)
    step = max(2, longest - 6 & ~1)
    yield from _mark([command], _COMMAND, step)
    if data_set is not None:
        yield from _mark(data_set, 0, step)


def send_buffers(sock: socket.socket, buffers: Sequence[Buffer]) -> None:
    """Send all of these bytes.

    Raises:
        OSError: The peer is gone, or does not read.
    """
    if isinstance(sock, ssl.SSLSocket):
        sock.sendall(b"".join(buffers))  # which cannot gather
        return
    rest = [memoryview(buffer) for buffer in buffers]
    first = 0
    while first < len(rest):
        sent = sock.sendmsg(rest[first:])
        while first < len(rest) and sent >= len(rest[first]):
            sent -= len(rest[first])
            first += 1
        if sent:
            rest[first] = rest[first][sent:]


def _mark(pieces: Iterable[Buffer], kind: int, step: int) -> Iterator[tuple[int, memoryview]]:
    """Yield fragments with their control headers; only the last one is marked as such."""
    fragment: memoryview | None = None
    for following in _fragment(pieces, step):
        if fragment is not None:
            yield kind, fragment
        fragment = following
    yield kind | _LAST, memoryview(b"") if fragment is None else fragment


def _fragment(pieces: Iterable[Buffer], step: int) -> Iterator[memoryview]:
    """Yield fragments of even length: peers refuse others."""
    odd = b""
    for piece in pieces:
        view = memoryview(odd + piece) if odd else memoryview(piece)
        odd = b""
        if len(view) % 2:
            odd, view = bytes(view[-1:]), view[:-1]
        for start in range(0, len(view), step):
            yield view[start : start + step]
    if odd:
        yield memoryview(odd)
