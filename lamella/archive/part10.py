"""What makes a data set a Part 10 file: preamble and file meta information."""

from __future__ import annotations

import struct

from lamella import __version__

IMPLEMENTATION_CLASS_UID = "2.25.249625149686709110778247150027339942425"
IMPLEMENTATION_VERSION_NAME = f"LAMELLA_{__version__}"[:16]

_PREAMBLE = bytes(128) + b"DICM"
_LONG_VRS = frozenset({b"OB"})


def build_file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
) -> bytes:
    """Return everything that comes before the data set: preamble, prefix and group 0002.

    Args:
        sop_class_uid: Media Storage SOP Class UID.
        sop_instance_uid: Media Storage SOP Instance UID.
        transfer_syntax_uid: What the data set is encoded in.
        source_ae_title: Who sent it, if that has an AE title.

    Source:
        PS3.10 §7.1, Table 7.1-1.
    """
    elements = b"".join(
        (
            _encode(0x0001, b"OB", b"\x00\x01"),
            _encode_uid(0x0002, sop_class_uid),
            _encode_uid(0x0003, sop_instance_uid),
            _encode_uid(0x0010, transfer_syntax_uid),
            _encode_uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _encode_text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _encode_text(0x0016, b"AE", source_ae_title) if source_ae_title else b"",
        )
    )
    group_length = _encode(0x0000, b"UL", struct.pack("<I", len(elements)))
    return _PREAMBLE + group_length + elements


def _encode_uid(element: int, uid: str) -> bytes:
    return _encode(element, b"UI", _pad(uid.encode("ascii", "replace"), b"\0"))


def _encode_text(element: int, vr: bytes, text: str) -> bytes:
    return _encode(element, vr, _pad(text.encode("ascii", "replace"), b" "))


def _pad(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value


def _encode(element: int, vr: bytes, value: bytes) -> bytes:
    form = "<HH2s2xI" if vr in _LONG_VRS else "<HH2sH"
    return struct.pack(form, 0x0002, element, vr, len(value)) + value
