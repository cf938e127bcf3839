"""Command sets of C-STORE: read from the wire and written to it.

A few dozen bytes in implicit VR little endian, for each instance one in and one out; the rest
of DIMSE is left to pynetdicom.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_CANCEL_RQ = 0x0FFF
NO_DATA_SET = 0x0101
COMMENT_LENGTH = 64  # LO
UID_LENGTH = 64

_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000


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
    elements = [
        _encode(_AFFECTED_SOP_CLASS_UID, _pad(command.sop_class_uid.encode("ascii"), b"\0")),
        _encode_us(_COMMAND_FIELD, C_STORE_RSP),
        _encode_us(_MESSAGE_ID_RESPONDED_TO, command.message_id),
        _encode_us(_DATA_SET_TYPE, NO_DATA_SET),
        _encode_us(_STATUS, answer.status),
    ]
    if answer.comment:
        comment = answer.comment.replace("\\", "/").encode("ascii", "replace")
        elements.append(_encode(_ERROR_COMMENT, _pad(comment[:COMMENT_LENGTH], b" ")))
    instance_uid = _pad(command.sop_instance_uid.encode("latin-1"), b"\0")
    elements.append(_encode(_AFFECTED_SOP_INSTANCE_UID, instance_uid))
    body = b"".join(elements)
    return _encode(0x0000, struct.pack("<I", len(body))) + body


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
