"""A de-identified data set as a file: new preamble, new file meta, the same bytes each time.

Source:
    PS3.10 §7.1; PS3.15 §E.1.1 step 7; PS3.5 §A.5 (deflated).
"""

from __future__ import annotations

import zlib

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lamella.archive.part10 import build_file_meta
from lamella.deid.lenient import lenient
from lamella.deid.results import Cleaned
from lamella.deid.subjects import read_text


def write(cleaned: Cleaned) -> bytes:
    """Return a Part 10 file in the source's transfer syntax.

    Nothing of the source's preamble and file meta is in it but the transfer syntax. Pixel data
    that were not touched are the same bytes in the same encoding.
    """
    attributes = cleaned.attributes
    syntax = find_syntax(attributes)
    with lenient():
        body = _encode(attributes, syntax)
        meta = build_file_meta(
            read_text(attributes, "SOPClassUID"), read_text(attributes, "SOPInstanceUID"), syntax
        )
    return meta + body


def find_syntax(attributes: Dataset) -> str:
    """Return the transfer syntax that a data set says it is in, or else the one it was read in."""
    meta = getattr(attributes, "file_meta", None)
    named = read_text(meta, "TransferSyntaxUID") if meta is not None else ""
    if named:
        return named
    implicit, little_endian = attributes.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRBigEndian if little_endian is False else ExplicitVRLittleEndian)


def _encode(attributes: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR = syntax == ImplicitVRLittleEndian
    out.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(out, attributes)
    body = bytes(out.getvalue())
    if syntax != DeflatedExplicitVRLittleEndian:
        return body
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(body) + packer.flush()
    return packed + b"\0" if len(packed) % 2 else packed
