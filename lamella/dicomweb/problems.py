"""The one mapper from errors to HTTP answers.

Source:
    RFC 9457 (the members `title` and `detail`); PS3.18 §8.5 (statuses).
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response import Response

from lamella.dicomweb.pinned import pinned_headers
from lamella.errors import (
    Erased,
    LamellaError,
    OutOfResources,
    RangeNotSatisfiable,
    ReadOnlyRevision,
)

logger = logging.getLogger("lamella.http")

_TITLES = {400: "Invalid request", 404: "Not found", 405: "Method not allowed", 413: "Too large"}
_DETAILS = {
    404: "There is nothing at this URL.",
    405: "This method is not for this URL.",
    413: "The request body is too long.",
}
_RETRY_AFTER_S = "5"


def describe_problem(status: int, title: str, detail: str) -> bytes:
    """Return the body of an error."""
    return msgspec.json.encode({"title": title, "status": status, "detail": detail})


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Turn any exception into an answer that tells neither traceback, path nor patient."""
    headers = pinned_headers(request)
    if isinstance(error, LamellaError):
        status, title, detail = error.http_status, error.title, error.detail
        if isinstance(error, ReadOnlyRevision):
            headers["Allow"] = "GET, HEAD, OPTIONS"
        if isinstance(error, Erased):
            headers["Cache-Control"] = "no-store"  # a rejection may be lifted
        if isinstance(error, OutOfResources):
            headers["Retry-After"] = _RETRY_AFTER_S
        if isinstance(error, RangeNotSatisfiable):
            headers["Content-Range"] = f"bytes */{error.size_bytes}"  # RFC 9110 §15.5.17
        if status >= 500:
            logger.error("%s %s: %s", request.method, status, detail, extra={"status": status})
    elif isinstance(error, HTTPException):
        status = error.status_code
        title = _TITLES.get(status, "Request failed")
        detail = _explain(error)
        headers.update(error.headers or {})
    else:
        status, title = 500, "Internal error"
        detail = "Something went wrong inside the server; its log says what."
        logger.exception("unexpected error in %s %s", request.method, request.scope["path"])
    body = describe_problem(status, title, detail)
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _explain(error: HTTPException) -> str:
    """Say what litestar refused: which field, and what it expected."""
    if error.status_code in _DETAILS:
        return _DETAILS[error.status_code]
    if error.status_code >= 500:
        return "The request failed."
    extra = error.extra if isinstance(error.extra, list) else []
    faults = [
        f"{fault.get('key', 'the body')}: {fault.get('message', '')}"
        for fault in extra
        if isinstance(fault, dict)
    ]
    return "; ".join(faults) or error.detail
