"""PDUs come out of a buffer as they went in, however the bytes arrive."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from lamella.dimse_gateway.pdu_buffer import HEADER_BYTES, PduBuffer

PDUS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=12)


def _encode(kind: int, items: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(items)) + items


@given(PDUS, st.lists(st.tuples(st.integers(1, 400), st.integers(1, 700)), min_size=1))
def test_pdus_are_cut_out_of_any_stream(
    pdus: list[tuple[int, bytes]], reads: list[tuple[int, int]]
) -> None:
    """Reads of any length, into windows of any length."""
    stream, buffer = memoryview(b"".join(_encode(*pdu) for pdu in pdus)), PduBuffer()
    found: list[tuple[int, bytes]] = []
    position, n_reads = 0, 0
    while position < len(stream):
        length, window = reads[n_reads % len(reads)]
        n_reads += 1
        room = buffer.make_room(window)
        assert len(room) >= buffer.next_bytes - buffer.n_bytes
        count = min(length, len(room), len(stream) - position)
        room[:count] = stream[position : position + count]
        buffer.add(count)
        position += count
        while buffer.n_bytes >= buffer.next_bytes:
            assert buffer.kind is not None
            pdu = buffer.take()
            assert len(pdu.data) == HEADER_BYTES + len(pdu.items)
            found.append((pdu.kind, bytes(pdu.items)))
    assert found == pdus
    assert buffer.n_bytes == 0


def test_nothing_is_known_of_a_pdu_before_its_header() -> None:
    buffer = PduBuffer()
    buffer.make_room(16)[:4] = b"\x04\x00\x00\x00"
    buffer.add(4)
    assert (buffer.kind, buffer.next_bytes, buffer.n_bytes) == (None, HEADER_BYTES, 4)
    buffer.make_room(16)[:2] = b"\x01\x00"
    buffer.add(2)
    assert (buffer.kind, buffer.next_bytes) == (4, HEADER_BYTES + 256)


def test_what_was_taken_stays_as_it_is_while_more_is_read_into_the_same_room() -> None:
    buffer = PduBuffer()
    both = _encode(4, b"first") + _encode(4, b"second")
    buffer.make_room(64)[: len(both)] = both
    buffer.add(len(both))
    first = buffer.take()
    third = _encode(4, b"third")
    buffer.make_room(64)[: len(third)] = third
    buffer.add(len(third))
    assert bytes(first.items) == b"first"
    assert [bytes(buffer.take().items) for _ in range(2)] == [b"second", b"third"]
