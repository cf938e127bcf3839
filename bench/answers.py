"""Decoding answers, so that both servers are seen to give the same while they are timed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from bench.client import BadAnswer, HttpAnswer

STUDY_UID = "0020000D"
SERIES_UID = "0020000E"
SOP_UID = "00080018"
_COMPARED = ("00100010", "00100020", "00200013", "00200032", "00280010", "00281052", "00180060")


def read_uids(answer: HttpAnswer, tag: str) -> list[str]:
    """Return one UID of each result, sorted."""
    return sorted(str(result[tag]["Value"][0]) for result in read_json(answer))


def read_json(answer: HttpAnswer) -> list[dict[str, Any]]:
    """Return the results of a search or the metadata of instances."""
    if answer.status == 204 or not answer.body:
        return []
    decoded = json.loads(answer.body)
    if not isinstance(decoded, list):
        raise BadAnswer(f"not an array: {answer.label}")
    return decoded


def summarize_metadata(answer: HttpAnswer) -> dict[str, object]:
    """Return what metadata says, in a form that does not depend on who says it."""
    documents = read_json(answer)
    lines = sorted(
        json.dumps([read_text(document, tag) for tag in (SOP_UID, *_COMPARED)])
        for document in documents
    )
    elements = [sum(not is_own(tag) for tag in document) for document in documents]
    return {
        "instances": len(documents),
        "values": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
        "fewest attributes": min(elements, default=0),
    }


def is_own(tag: str) -> bool:
    """Tell what one server adds and another does not: URLs, availability, group 0002."""
    return tag.startswith("0002") or tag in ("00081190", "00080056", "7FE00010")


def read_text(document: dict[str, Any], tag: str) -> list[str]:
    """Return an attribute's values as texts; numbers in one form."""
    texts = []
    for value in document.get(tag, {}).get("Value", []):
        if isinstance(value, dict):
            texts.append(str(value.get("Alphabetic", "")))
        elif isinstance(value, int | float):
            texts.append(f"{value:g}")
        else:
            texts.append(_as_number(str(value)))
    return texts


def split_parts(answer: HttpAnswer) -> list[bytes]:
    """Return the bodies of a multipart answer's parts; of any other, its body."""
    match = re.search(r'boundary="?([^";]+)', answer.header("content-type"))
    if match is None:
        return [answer.body]
    delimiter = b"--" + match[1].encode()
    parts: list[bytes] = []
    position = answer.body.index(delimiter)
    while True:
        position += len(delimiter)
        if answer.body[position : position + 2] == b"--":
            return parts
        start = answer.body.index(b"\r\n\r\n", position) + 4
        head = answer.body[position:start].lower()
        length = re.search(rb"content-length:\s*(\d+)", head)
        after = start + int(length[1]) if length else start
        end = answer.body.index(b"\r\n" + delimiter, after)
        parts.append(answer.body[start:end])
        position = end + 2


def digest_parts(answer: HttpAnswer) -> list[str]:
    """Return a digest of each part."""
    return [digest(part) for part in split_parts(answer)]


def digest(data: bytes) -> str:
    """Return a short digest."""
    return hashlib.sha256(data).hexdigest()[:16]


def count_stored(answer: HttpAnswer) -> int:
    """Return how many instances a store request stored.

    Raises:
        BadAnswer: Some were refused.
    """
    result = json.loads(answer.body)
    if isinstance(result, list):
        result = result[0]
    if result.get("00081198", {}).get("Value"):
        raise BadAnswer(f"instances were refused: {answer.label}")
    return len(result.get("00081199", {}).get("Value", []))


def _as_number(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
