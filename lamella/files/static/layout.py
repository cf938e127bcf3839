"""Names, types and numbers of a static export that its readers rely on."""

from __future__ import annotations

from typing import Final

from lamella.dicomweb.media_types import DICOM_JSON, OCTET_STREAM
from lamella.dicomweb.multipart_writer import multipart_content_type

FORMAT: Final = "lamella-static 1"
BOUNDARY: Final = "lamella-static-6f2c1d0a9be84c7f8d35b1e7a4c09f62"
"""The same in every multipart file, so that a web server can name it by one rule; 128 random bits,
which no pixel data hold by chance."""

MANIFEST: Final = "lamella.json"
LEDGER: Final = "ledger.json"
INDEX: Final = "index.json"
METADATA: Final = "metadata"
INSTANCE: Final = "index.multipart"
THUMBNAIL: Final = "thumbnail"

JSON_TYPE: Final = "application/json"
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
