"""The least that an ASGI handler can do: read a range and send it as one part, or send bytes.

Started by `yardsticks.BareGranian`; finds its files through the environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_METADATA = Path(os.environ.get("BENCH_METADATA", os.devnull)).read_bytes()
_METADATA_HEADERS = [
    (b"content-type", b"application/dicom+json"),
    (b"content-encoding", b"gzip"),
    (b"content-length", b"%d" % len(_METADATA)),
]
_PACK = os.environ.get("BENCH_PACK", "")
_FRAME_BYTES = int(os.environ.get("BENCH_FRAME_BYTES", "0"))
_FD = os.open(_PACK, os.O_RDONLY) if _PACK else -1
_HEADER = (
    b"--bare\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % _FRAME_BYTES
)
_END = b"\r\n--bare--\r\n"
_HEADERS = [
    (b"content-type", b'multipart/related; type="application/octet-stream"; boundary=bare'),
    (b"content-length", b"%d" % (len(_HEADER) + _FRAME_BYTES + len(_END))),
]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer `/frames/{index}` and `/metadata`."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/metadata":
        await send({"type": "http.response.start", "status": 200, "headers": _METADATA_HEADERS})
        await send({"type": "http.response.body", "body": _METADATA, "more_body": False})
        return
    index = int(scope["path"].rpartition("/")[2])
    data = os.pread(_FD, _FRAME_BYTES, index * _FRAME_BYTES)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _HEADER, "more_body": True})
    await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": _END, "more_body": False})
