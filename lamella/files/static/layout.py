"""Names, types and numbers of a static export that its readers rely on."""

from __future__ import annotations

from typing import Final

from lamella.dicomweb.media_types import DICOM_JSON, OCTET_STREAM
from lamella.dicomweb.multipart_writer import multipart_content_type, part_header

FORMAT: Final = "lamella-static 1"
BOUNDARY: Final = "lamella-static-6f2c1d0a9be84c7f8d35b1e7a4c09f62"
"""The same in every multipart file, so that a web server can name it by one rule; 128 random bits,
which no pixel data hold by chance."""

MANIFEST: Final = "lamella.json"
LEDGER: Final = "ledger.json"
INDEX: Final = "index.json"
METADATA: Final = "metadata"
INSTANCE: Final = "index.multipart"
CATALOG: Final = "lamella.idx"
SECTION: Final = "lamella.section"
"""Of a series: its instances, with where in their files the bytes are."""
THUMBNAIL: Final = "thumbnail"

JSON_TYPE: Final = "application/json"
OCTETS_TYPE: Final = OCTET_STREAM
DICOM_JSON_TYPE: Final = DICOM_JSON
FRAME_TYPE: Final = multipart_content_type(BOUNDARY, OCTET_STREAM)
INSTANCE_TYPE: Final = multipart_content_type(BOUNDARY, "application/dicom")


EXTENSIONS: Final = {
    "image/jpeg": "jpg",
    "application/pdf": "pdf",
    "text/html": "html",
    "text/xml": "xml",
    "image/svg+xml": "svg",
    "model/stl": "stl",
    "model/obj": "obj",
    "model/mtl": "mtl",
}
"""Of `rendered/index.…`, by media type; any other is `bin`."""


def name_file(study_uid: str, series_uid: str, sop_uid: str) -> str:
    """Return the path of the file that an instance is in."""
    return f"studies/{study_uid}/series/{series_uid}/instances/{sop_uid}/{INSTANCE}"


def name_section(study_uid: str, series_uid: str) -> str:
    """Return the path of the section of a series."""
    return f"studies/{study_uid}/series/{series_uid}/{SECTION}"


def describe_instance(transfer_syntax_uid: str) -> str:
    """Return the Content-Type of the one part of an instance's file."""
    return f"application/dicom; transfer-syntax={transfer_syntax_uid}"


def begin_instance(transfer_syntax_uid: str, size_bytes: int) -> bytes:
    """Return what stands before an instance in its file."""
    content_type = describe_instance(transfer_syntax_uid)
    return part_header(BOUNDARY, content_type, None, size_bytes, is_first=True)
