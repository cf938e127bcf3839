"""What checks say about an answer: each function returns, or raises what the check ends with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lamella.conformance.exchange import Reply
from lamella.conformance.multipart import Part, parse_parameters, split_parts
from lamella.conformance.outcomes import CheckFailed, NotOffered

DICOM, OCTETS = "application/dicom", "application/octet-stream"
DICOM_JSON, DICOM_XML = "application/dicom+json", "application/dicom+xml"
MULTIPART = "multipart/related"
ABSENT = frozenset({404, 405, 501})
"""Statuses with which a server says that it has no such resource or method at all."""

DataSet = dict[str, Any]


def expect(is_right: bool, reply: Reply | None, expected: str, got: object) -> None:
    """Fail unless something holds.

    Args:
        is_right: What has to hold.
        reply: The answer that shows it.
        expected: What should be, to follow "expected".
        got: What is.
    """
    if not is_right:
        raise CheckFailed(reply, expected, str(got))


def expect_status(reply: Reply, *statuses: int) -> Reply:
    """Fail unless the status is one of those; return the reply."""
    wanted = " or ".join(map(str, statuses))
    expect(reply.status in statuses, reply, f"status {wanted}", reply.summarise())
    return reply


def expect_refusal(reply: Reply) -> Reply:
    """Fail unless the server refuses a request as the client's mistake (4xx)."""
    expect(400 <= reply.status < 500, reply, "a status of 4xx", reply.summarise())
    return reply


def expect_media_type(reply: Reply, *media_types: str) -> Reply:
    """Fail unless the Content-Type is one of those, parameters aside; return the reply."""
    wanted = " or ".join(media_types)
    expect(reply.media_type in media_types, reply, f"Content-Type {wanted}", reply.summarise())
    return reply


def expect_header(reply: Reply, name: str) -> str:
    """Return the value of a header field; fail if it is absent."""
    value = reply.header(name)
    expect(value is not None, reply, f"a header field {name}", "none")
    return value or ""


def expect_equal(reply: Reply | None, what: str, got: object, wanted: object) -> None:
    """Fail unless two values are equal."""
    expect(got == wanted, reply, f"{what} {_show(wanted)}", _show(got))


def require_offered(reply: Reply, what: str, *more: int) -> Reply:
    """End the check as not offered if the status says that there is no such thing.

    Args:
        reply: An answer to a request that nothing is wrong with.
        what: What the server may leave out.
        more: Statuses that say so besides 404, 405 and 501.
    """
    if reply.status in ABSENT or reply.status in more:
        raise NotOffered(f"{what} is not offered (status {reply.status}).")
    return reply


def read_json(reply: Reply) -> Any:
    """Return the body as JSON; fail if it is none."""
    try:
        return json.loads(reply.body.decode("utf-8"))
    except ValueError as error:
        raise CheckFailed(reply, "a body of JSON in UTF-8", f"{error}") from error


def read_data_sets(reply: Reply) -> list[DataSet]:
    """Return the body of a 200 as an array of DICOM JSON objects; fail if it is none."""
    expect_status(reply, 200)
    found = read_json(reply)
    is_array = isinstance(found, list) and all(isinstance(item, dict) for item in found)
    expect(is_array, reply, "a JSON array of objects", _show(found))
    return list(found)


def read_results(reply: Reply) -> list[DataSet]:
    """Return what a search found; no body with 204, as editions up to 2024d have it, is nothing."""
    if reply.status == 204:
        expect(not reply.body, reply, "no body with 204", f"{len(reply.body)} bytes")
        return []
    return read_data_sets(reply)


def read_parts(reply: Reply, *statuses: int) -> list[Part]:
    """Return the parts of a multipart answer; fail if it is none or is broken."""
    expect_status(reply, *(statuses or (200,)))
    expect_media_type(reply, MULTIPART)
    try:
        parts = split_parts(reply.content_type, reply.body)
    except ValueError as error:
        raise CheckFailed(reply, "a sound multipart body", str(error)) from error
    expect(bool(parts), reply, "at least one part", "none")
    return parts


def read_single_or_parts(reply: Reply) -> list[bytes]:
    """Return the payloads of an answer that may be single-part or multipart."""
    if reply.media_type == MULTIPART:
        return [part.body for part in read_parts(reply, 200, 206)]
    expect_status(reply, 200)
    return [reply.body]


def root_type(reply: Reply) -> str:
    """Return the `type` parameter of a multipart Content-Type, '' if there is none."""
    return parse_parameters(reply.content_type).get("type", "").lower()


def value(data_set: DataSet, tag: str) -> Any:
    """Return the first value of an attribute, None if it is absent or empty."""
    values = data_set.get(tag, {}).get("Value") or [None]
    return values[0]


def values(data_sets: Iterable[DataSet], tag: str) -> list[Any]:
    """Return the first value of an attribute of each data set."""
    return [value(data_set, tag) for data_set in data_sets]


def _show(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 300 else f"{text[:297]}…"
