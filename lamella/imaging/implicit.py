"""Native data sets as Implicit VR Little Endian, for peers that take nothing else.

They are re-encoded as for Explicit VR, and each element's header is written without its VR.

Source:
    PS3.5 §7.1.3 and Annex A.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lamella.archive.source import ByteSource
from lamella.errors import BrokenInstance
from lamella.imaging.elements import NATIVE_ENCODINGS, Reencoder, Span, find_encoding
from lamella.imaging.explicit import read_file_meta, read_pieces

_DELIMITERS = b"\xfe\xff"  # group FFFE: items and what ends them have no VR
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


def write_implicit(source: ByteSource) -> Iterator[bytes]:
    """Yield the data set of a native Part 10 file in Implicit VR Little Endian, without file meta.

    Args:
        source: A file in Explicit VR, little or big endian, or in Implicit VR.

    Raises:
        BrokenInstance: It is damaged, or in another transfer syntax. Raised before the first chunk,
            except for what stands behind it.
    """
    meta = read_file_meta(source)
    declared = NATIVE_ENCODINGS.get(meta.transfer_syntax_uid)
    if declared is None:
        raise BrokenInstance("Only a native data set has an Implicit VR form.")
    encoding = find_encoding(source, meta.end_bytes, declared)
    pieces = Reencoder(source, meta.end_bytes, encoding).pieces()
    return read_pieces(source, (_drop_vr(piece) for piece in pieces))


def _drop_vr(piece: bytes | Span) -> bytes | Span:
    """Return a piece of an Explicit VR data set as it is in Implicit VR."""
    if isinstance(piece, Span) or piece[:2] == _DELIMITERS:
        return piece
    if piece[4:6] in _LONG_VRS:
        return piece[:4] + piece[8:]
    (length,) = struct.unpack_from("<H", piece, 6)
    return piece[:4] + struct.pack("<L", length) + piece[8:]
