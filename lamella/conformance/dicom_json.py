"""Reading values out of DICOM JSON answers, wherever the server put them.

Source:
    PS3.18 Annex F.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DataSet,
    expect,
    expect_status,
    read_single_or_parts,
)
from lamella.conformance.outcomes import CheckFailed
from lamella.conformance.probe import Probe

TAG = re.compile(r"[0-9A-F]{8}")
NUMBERS_OR_TEXT = frozenset({"IS", "DS", "SV", "UV"})
"""VRs whose numbers may be written as JSON strings, too (Table F.2.3-1)."""

PIXEL_DATA = "7FE00010"


def read_bytes(probe: Probe, reply: Reply, element: dict[str, Any]) -> bytes:
    """Return the bytes of an element, inline or behind its BulkDataURI; fail if there are none."""
    if "InlineBinary" in element:
        try:
            return base64.b64decode(element["InlineBinary"], validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise CheckFailed(reply, "InlineBinary in base64", str(error)) from error
    expect("BulkDataURI" in element, reply, "InlineBinary or BulkDataURI", element)
    answer = fetch_bulk(probe, element["BulkDataURI"])
    return b"".join(read_single_or_parts(answer))


def fetch_bulk(probe: Probe, uri: str, accept: str | None = None) -> Reply:
    """Return the answer to a GET of a BulkDataURI."""
    wanted = accept or 'multipart/related; type="application/octet-stream"; transfer-syntax=*, */*'
    reply = probe.get(resolve(probe, uri), accept=wanted)
    return expect_status(reply, 200)


def resolve(probe: Probe, uri: str) -> str:
    """Return a BulkDataURI as an absolute URL; a relative one is relative to the root."""
    if uri.startswith("/"):
        scheme, _, rest = probe.root.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}{uri}"
    return uri if "://" in uri else f"{probe.root}/{uri.removeprefix('../')}"


def same_values(vr: str, found: Any, wanted: list[Any]) -> bool:
    """Return whether values are equal; numbers as strings are, where that is allowed."""
    if not isinstance(found, list) or len(found) != len(wanted):
        return False
    if vr not in NUMBERS_OR_TEXT:
        return bool(found == wanted) and not any(isinstance(item, bool) for item in found)
    try:
        return all(float(a) == float(b) for a, b in zip(found, wanted, strict=True))
    except (TypeError, ValueError):
        return False


def walk(data_set: DataSet) -> Iterator[DataSet]:
    """Yield a data set and the items of its sequences, at every depth."""
    yield data_set
    for element in data_set.values():
        if isinstance(element, dict) and element.get("vr") == "SQ":
            for item in element.get("Value") or []:
                if isinstance(item, dict):
                    yield from walk(item)


def list_faults(data_set: DataSet) -> list[str]:
    """Return where a data set breaks the form of the DICOM JSON model (§F.2.2)."""
    faults = []
    for part in walk(data_set):
        for tag, element in part.items():
            if not TAG.fullmatch(tag):
                faults.append(f"{tag} is no tag of 8 capital hex digits")
            elif not isinstance(element, dict) or not re.fullmatch(
                "[A-Z]{2}", str(element.get("vr"))
            ):
                faults.append(f"{tag} has no vr")
            elif len({"Value", "BulkDataURI", "InlineBinary"} & element.keys()) > 1:
                faults.append(f"{tag} has more than one of Value, BulkDataURI, InlineBinary")
    return faults
