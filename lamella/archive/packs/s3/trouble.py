"""What goes wrong at S3: which of it passes, and what it is called for a person."""

from __future__ import annotations

from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from lamella.errors import LamellaError, OutOfResources

TROUBLES = (ClientError, BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError)
"""What a call of aioboto3 may raise; a timeout is an OSError."""

_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"BadDigest", "IncompleteBody", "RequestTimeout", "SlowDown"})
_PASSING = (
    HTTPClientError,
    ConnectionError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
)
_SENTENCES = {
    "NoSuchBucket": "The bucket {bucket} does not exist.",
    "404": "The bucket {bucket} does not exist.",
    "403": "S3 refuses these credentials for the bucket {bucket}.",
    "AccessDenied": "S3 refuses these credentials for the bucket {bucket}.",
    "InvalidAccessKeyId": "S3 does not know these credentials.",
    "SignatureDoesNotMatch": "S3 does not take these credentials: the secret key is wrong.",
    "RequestTimeTooSkewed": "This machine's clock and S3's are too far apart.",
    "QuotaExceeded": "The bucket {bucket} is full.",
    "XMinioStorageFull": "The store of the bucket {bucket} is full.",
}


def is_passing(error: Exception) -> bool:
    """Tell whether asking again may help."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _PASSING_STATUSES or code_of(error) in _PASSING_CODES
    return isinstance(error, (*_PASSING, aiohttp.ClientError, OSError))


def code_of(error: Exception) -> str:
    """Return the code of what S3 answered, or an empty string."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def explain(error: Exception, bucket: str) -> LamellaError:
    """Return an error of ours with one sentence that says what to look at."""
    if isinstance(error, NoCredentialsError):
        return OutOfResources("S3 needs credentials, and there are none.")
    sentence = _SENTENCES.get(code_of(error))
    if sentence is not None:
        return OutOfResources(sentence.format(bucket=bucket))
    if isinstance(error, ClientError):
        return OutOfResources(f"S3 refuses: {code_of(error)}.")
    return OutOfResources("S3 does not answer.")
