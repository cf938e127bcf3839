"""Command sets, read from the wire and written to it: a few dozen bytes in implicit VR.

Those of C-STORE, one in and one out for each instance, of retrieves, and all that Lamella sends
as an SCU; the rest of DIMSE is left to pynetdicom.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_GET_RQ = 0x0010
C_GET_RSP = 0x8010
C_FIND_RQ = 0x0020
C_MOVE_RQ = 0x0021
C_MOVE_RSP = 0x8021
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
N_EVENT_REPORT_RQ = 0x0100
RESPONSE = 0x8000
"""A bit of Command Field that tells responses."""

WITH_DATA_SET = 0x0001
MEDIUM_PRIORITY = 0x0000
NO_DATA_SET = 0x0101
COMMENT_LENGTH = 64  # LO
UID_LENGTH = 64
MOST_COUNTED = 0xFFFF  # counts of sub-operations are US

_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_EVENT_TYPE_ID = 0x1002
_MOVE_DESTINATION = 0x0600
_PRIORITY = 0x0700
_REMAINING, _COMPLETED, _FAILED, _WARNING = 0x1020, 0x1021, 0x1022, 0x1023
_MOVE_ORIGINATOR, _MOVE_ORIGINATOR_MESSAGE_ID = 0x1030, 0x1031


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What a C-STORE request says before its data set comes.

    Attributes:
        sop_instance_uid: As it came, up to 64 bytes; it may be no UID.

    Source:
        PS3.7 Table 9.3-1.
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """How a C-STORE ended.

    Attributes:
        status: PS3.4 Table B.2-1 and PS3.7 Annex C.
        comment: One sentence without patient values; cut to 64 characters on the wire.
    """

    status: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Originator:
    """Whose C-MOVE a C-STORE belongs to.

    Attributes:
        ae_title: Who asked for it.
        message_id: Of the request.
    """

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a retrieve is: how many instances each fate has met."""

    remaining: int
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class Response:
    """What a response says; counts of sub-operations are 0 where it has none.

    Attributes:
        has_data_set: Whether an identifier follows.
    """

    command_field: int
    message_id: int
    status: int
    has_data_set: bool
    comment: str
    counts: SubOperations


def split_command(encoded: bytes) -> dict[int, bytes]:
    """Return the values of group 0000 by element number.

    Raises:
        ValueError: These bytes are no command set.

    Source:
        PS3.7 §6.3.1.
    """
    values: dict[int, bytes] = {}
    offset = 0
    while offset < len(encoded):
        if offset + 8 > len(encoded):
            raise ValueError("The command set ends within an element.")
        group, element, length = struct.unpack_from("<HHI", encoded, offset)
        offset += 8
        if group != 0 or offset + length > len(encoded):
            raise ValueError("The command set holds something else than group 0000.")
        values[element] = encoded[offset : offset + length]
        offset += length
    return values


def read_command_field(values: dict[int, bytes]) -> int:
    """Return which DIMSE message a command set is.

    Raises:
        ValueError: It does not say.
    """
    return _read_us(values, _COMMAND_FIELD)


def read_store_command(values: dict[int, bytes]) -> StoreCommand:
    """Read a C-STORE request.

    Raises:
        ValueError: A mandatory element is missing or cannot be read.
    """
    return StoreCommand(
        _read_us(values, _MESSAGE_ID),
        _read_uid(values, _AFFECTED_SOP_CLASS_UID),
        _read_name(values, _AFFECTED_SOP_INSTANCE_UID),
        _read_us(values, _DATA_SET_TYPE) != NO_DATA_SET,
    )


def build_store_response(command: StoreCommand, answer: Answer) -> bytes:
    """Return the encoded command set of a C-STORE response.

    Source:
        PS3.7 Table 9.3-2.
    """
    values: dict[int, bytes | int] = {
        _AFFECTED_SOP_CLASS_UID: _encode_uid(command.sop_class_uid),
        _COMMAND_FIELD: C_STORE_RSP,
        _MESSAGE_ID_RESPONDED_TO: command.message_id,
        _DATA_SET_TYPE: NO_DATA_SET,
        _STATUS: answer.status,
        _AFFECTED_SOP_INSTANCE_UID: _encode_uid(command.sop_instance_uid),
    }
    if answer.comment:
        values[_ERROR_COMMENT] = _encode_comment(answer.comment)
    return _build(values)


def read_response(values: dict[int, bytes]) -> Response:
    """Read a response to a request of ours.

    Raises:
        ValueError: A mandatory element is missing or cannot be read.
    """
    names = (_REMAINING, _COMPLETED, _FAILED, _WARNING)
    counts = [_read_us(values, name) if name in values else 0 for name in names]
    comment = values.get(_ERROR_COMMENT, b"").decode("latin-1").strip(" \0")
    return Response(
        _read_us(values, _COMMAND_FIELD),
        _read_us(values, _MESSAGE_ID_RESPONDED_TO),
        _read_us(values, _STATUS),
        _read_us(values, _DATA_SET_TYPE) != NO_DATA_SET,
        comment,
        SubOperations(*counts),
    )


def build_request(
    command_field: int, message_id: int, sop_class_uid: str, destination: str = ""
) -> bytes:
    """Return the encoded command set of a C-ECHO, C-FIND, C-GET or C-MOVE request.

    Args:
        command_field: Which of these; only a C-ECHO has no identifier.
        message_id: Its number.
        sop_class_uid: Affected SOP Class UID.
        destination: AE title that a C-MOVE sends to.

    Source:
        PS3.7 Tables 9.3-3, 9.3-6, 9.3-9 and 9.3-12.
    """
    is_echo = command_field == C_ECHO_RQ
    values: dict[int, bytes | int] = {
        _AFFECTED_SOP_CLASS_UID: _encode_uid(sop_class_uid),
        _COMMAND_FIELD: command_field,
        _MESSAGE_ID: message_id,
        _DATA_SET_TYPE: NO_DATA_SET if is_echo else WITH_DATA_SET,
    }
    if not is_echo:
        values[_PRIORITY] = MEDIUM_PRIORITY
    if destination:
        values[_MOVE_DESTINATION] = _encode_text(destination)
    return _build(values)


def build_event_report(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int
) -> bytes:
    """Return the encoded command set of an N-EVENT-REPORT request with event information.

    Source:
        PS3.7 Table 10.3-1.
    """
    return _build(
        {
            _AFFECTED_SOP_CLASS_UID: _encode_uid(sop_class_uid),
            _COMMAND_FIELD: N_EVENT_REPORT_RQ,
            _MESSAGE_ID: message_id,
            _DATA_SET_TYPE: WITH_DATA_SET,
            _AFFECTED_SOP_INSTANCE_UID: _encode_uid(sop_instance_uid),
            _EVENT_TYPE_ID: event_type,
        }
    )


def build_store_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, originator: Originator | None = None
) -> bytes:
    """Return the encoded command set of a C-STORE request.

    Source:
        PS3.7 Table 9.3-1.
    """
    values: dict[int, bytes | int] = {
        _AFFECTED_SOP_CLASS_UID: _encode_uid(sop_class_uid),
        _COMMAND_FIELD: C_STORE_RQ,
        _MESSAGE_ID: message_id,
        _PRIORITY: MEDIUM_PRIORITY,
        _DATA_SET_TYPE: WITH_DATA_SET,
        _AFFECTED_SOP_INSTANCE_UID: _encode_uid(sop_instance_uid),
    }
    if originator is not None:
        values[_MOVE_ORIGINATOR] = _encode_text(originator.ae_title)
        values[_MOVE_ORIGINATOR_MESSAGE_ID] = originator.message_id
    return _build(values)


def build_retrieve_response(
    command_field: int,
    message_id: int,
    sop_class_uid: str,
    status: int,
    counts: SubOperations | None = None,
    *,
    tells_remaining: bool = True,
    has_data_set: bool = False,
    comment: str = "",
) -> bytes:
    """Return the encoded command set of a C-GET or C-MOVE response.

    Args:
        command_field: Which of these.
        message_id: Of the request.
        sop_class_uid: Of the request.
        status: Pending or final.
        counts: Of sub-operations; None if none could be begun.
        tells_remaining: Whether some may remain: only of pending and cancelled ones.
        has_data_set: Whether an identifier follows.
        comment: One sentence without patient values.

    Source:
        PS3.7 Tables 9.3-7 and 9.3-10; PS3.4 §C.4.2.1.6.
    """
    values: dict[int, bytes | int] = {
        _AFFECTED_SOP_CLASS_UID: _encode_uid(sop_class_uid),
        _COMMAND_FIELD: command_field,
        _MESSAGE_ID_RESPONDED_TO: message_id,
        _DATA_SET_TYPE: WITH_DATA_SET if has_data_set else NO_DATA_SET,
        _STATUS: status,
    }
    if comment:
        values[_ERROR_COMMENT] = _encode_comment(comment)
    if counts is not None:
        if tells_remaining:
            values[_REMAINING] = min(counts.remaining, MOST_COUNTED)
        values[_COMPLETED] = min(counts.completed, MOST_COUNTED)
        values[_FAILED] = min(counts.failed, MOST_COUNTED)
        values[_WARNING] = min(counts.warning, MOST_COUNTED)
    return _build(values)


def _build(values: Mapping[int, bytes | int]) -> bytes:
    """Return a command set of these elements."""
    body = b"".join(
        _encode(element, value) if isinstance(value, bytes) else _encode_us(element, value)
        for element, value in sorted(values.items())
    )
    return _encode(0x0000, struct.pack("<I", len(body))) + body


def _encode_uid(uid: str) -> bytes:
    return _pad(uid.encode("latin-1"), b"\0")


def _encode_text(text: str) -> bytes:
    return _pad(text.encode("ascii", "replace"), b" ")


def _encode_comment(comment: str) -> bytes:
    return _encode_text(comment.replace("\\", "/")[:COMMENT_LENGTH])


def _read_us(values: dict[int, bytes], element: int) -> int:
    value = values.get(element, b"")
    if len(value) != 2:
        raise ValueError(f"Command element (0000,{element:04X}) is missing or not one US.")
    return int(struct.unpack("<H", value)[0])


def _read_name(values: dict[int, bytes], element: int) -> str:
    """Return what should be a UID, so that an instance with a bad one is refused alone.

    The data set has to name the same, and its UIDs are checked.
    """
    value = values.get(element, b"").rstrip(b"\0 ")
    if not 0 < len(value) <= UID_LENGTH:
        raise ValueError(f"Command element (0000,{element:04X}) is missing or no UID.")
    return value.decode("latin-1")


def _read_uid(values: dict[int, bytes], element: int) -> str:
    value = values.get(element, b"").rstrip(b"\0 ")
    if not 0 < len(value) <= UID_LENGTH or not all(byte in b"0123456789." for byte in value):
        raise ValueError(f"Command element (0000,{element:04X}) is missing or no UID.")
    return value.decode("ascii")


def _encode_us(element: int, value: int) -> bytes:
    return _encode(element, struct.pack("<H", value))


def _encode(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0x0000, element, len(value)) + value


def _pad(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
