"""The reference server's instances, metadata, frames and bulk data."""

import json
import re

from lamella.conformance.native_xml import write_native

from .messages import (
    BIG,
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    EXPLICIT,
    IMPLICIT,
    JSON,
    OCTETS,
    Answer,
    Problem,
    choose,
    join,
)

MULTIPART = "multipart/related"
JPEG, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
FRAME_TYPES = {JPEG: "image/jpeg", RLE: "image/dicom-rle"}


def pick_syntax(held, parameters):
    """Return the transfer syntax in which an instance goes out, None if it cannot."""
    wanted = parameters.get("transfer-syntax")
    if wanted in (None, EXPLICIT) and held.syntax != JPEG:
        return EXPLICIT
    if wanted in (None, "*", held.syntax):
        is_sendable = held.syntax not in (IMPLICIT, BIG)
        return held.syntax if is_sendable else EXPLICIT if wanted == "*" else None
    return None


def require(found, what):
    if not found:
        raise Problem(404, f"There is no such {what}.")
    return found


def send_instances(ask, found):
    offers = [
        (MULTIPART, DICOM),
        *([(DICOM, None)] if len(found) == 1 else []),
        ("application/zip", None),
    ]

    def fits(offer, parameters):
        return offer[0] == "application/zip" or all(pick_syntax(h, parameters) for h in found)

    (kind, _), parameters = choose(ask, offers, fits)
    if kind == "application/zip":
        return Answer(200, {"Content-Type": kind}, pack(found))
    files = [(h, pick_syntax(h, parameters)) for h in found]
    if kind == DICOM:
        held, syntax = files[0]
        return Answer(200, {"Content-Type": DICOM}, held.encode(syntax))
    return join(
        [(f"{DICOM}; transfer-syntax={s}", ask.root + h.path, h.encode(s)) for h, s in files], DICOM
    )


def pack(found):
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for held in found:
            archive.writestr(f"{held.ds.SOPInstanceUID}.dcm", held.file)
    return buffer.getvalue()


def send_data_sets(ask, data_sets, location):
    """Send metadata, or results."""
    offers = [(DICOM_JSON, None), (JSON, None), (MULTIPART, DICOM_XML)]
    (kind, _), _ = choose(ask, offers)
    if kind == MULTIPART:
        return join([(DICOM_XML, location, write_native(found)) for found in data_sets], DICOM_XML)
    body = json.dumps(data_sets, ensure_ascii=False).encode()
    return Answer(200, {"Content-Type": kind}, body)


def fill(held, root):
    """Return an instance's metadata, its bulk values at URLs of their own."""
    text = json.dumps(held.json).replace("{bulk}", f"{root}{held.path}/bulkdata/")
    return json.loads(text)


def send_frames(ask, held, text):
    if not re.fullmatch("[0-9]+(,[0-9]+)*", text) or not all(map(int, text.split(","))):
        raise Problem(400, "Frames are numbers from 1 on.")
    numbers = [int(number) for number in text.split(",")]
    native = held.frames(EXPLICIT) if held.syntax != JPEG else held.frames(JPEG)
    if max(numbers) > len(native):
        raise Problem(404, f"There are {len(native)} frames.")
    compressed = FRAME_TYPES.get(held.syntax)
    offers = [(MULTIPART, OCTETS), (OCTETS, None)]
    if compressed:
        offers.append((MULTIPART, compressed))
    (kind, root), parameters = choose(ask, offers, lambda o, p: frame_syntax(held, o, p))
    syntax = frame_syntax(held, (kind, root), parameters)
    frames = held.frames(syntax)
    part_type = FRAME_TYPES.get(syntax, OCTETS)
    if kind == OCTETS:
        return Answer(200, {"Content-Type": OCTETS}, frames[numbers[0] - 1])
    parts = [
        (
            f"{part_type}; transfer-syntax={syntax}",
            f"{ask.root}{held.path}/frames/{n}",
            frames[n - 1],
        )
        for n in numbers
    ]
    return join(parts, part_type)


def frame_syntax(held, offer, parameters):
    """Return the syntax of the frames in an offer, None if the range does not want it."""
    wanted = parameters.get("transfer-syntax")
    if held.syntax == JPEG or offer[1] in FRAME_TYPES.values():
        return held.syntax if wanted in (None, "*", held.syntax) else None
    if wanted == "*" and held.syntax in FRAME_TYPES and offer[0] == MULTIPART:
        return held.syntax
    return EXPLICIT if wanted in (None, "*", EXPLICIT) else None


def send_bulk(ask, location, values):
    """Send bytes: single-part where there is one value and the client asks for it."""
    offers = [(MULTIPART, OCTETS), *([(OCTETS, None)] if len(values) == 1 else [])]
    (kind, _), _ = choose(ask, offers)
    if kind == OCTETS:
        return Answer(200, {"Content-Type": OCTETS}, values[0])
    return join([(OCTETS, location, value) for value in values], OCTETS)


def cut_range(ask, answer):
    """Answer a Range of a single part (RFC 9110 §14)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", ask.headers.get("range", ""))
    if not match or answer.status != 200 or answer.headers["Content-Type"] not in (DICOM, OCTETS):
        return answer
    size = len(answer.body)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) if last and first else size - 1, size - 1)
    if start > end:
        return Answer(416, {"Content-Type": JSON, "Content-Range": f"bytes */{size}"}, b"{}")
    headers = {**answer.headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    return Answer(206, headers, answer.body[start : end + 1])
