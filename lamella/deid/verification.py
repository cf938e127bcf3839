"""The written bytes read again: nothing of what the source's header told may be in them.

Source:
    DEID, step 9.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

from pydicom import DataElement, Dataset, dcmread
from pydicom.errors import InvalidDicomError

from lamella.deid.element_kinds import STRUCTURAL
from lamella.deid.identifiers import Identifiers
from lamella.deid.lenient import UNREADABLE, lenient
from lamella.deid.replacements import read_values
from lamella.deid.results import Cleaned, Reason, Verdict
from lamella.deid.uids import is_registered

_TEXT_VRS = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_SHORTEST_SEARCHED = 6
_SHORTEST_UID = 12
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


def verify(written: bytes, cleaned: Cleaned) -> tuple[Reason, ...]:
    """Return what is wrong with the file that a cleaned instance became. Empty: nothing.

    Args:
        written: The file's bytes.
        cleaned: What it was written from: for what the source told, and which UIDs are new or
            stay because the profile says so.
    """
    with lenient():
        try:
            attributes = dcmread(io.BytesIO(written), force=True)
            return tuple(_examine(attributes, written, cleaned))
        except (*UNREADABLE, InvalidDicomError, zlib.error):
            return (Reason(Verdict.QUARANTINE, "unreadable"),)


def _examine(attributes: Dataset, written: bytes, cleaned: Cleaned) -> Iterator[Reason]:
    if any(written[:128]):
        yield Reason(Verdict.QUARANTINE, "preamble")
    new = set(cleaned.uids.values())
    pixels = [attributes.get_item(tag) for tag in _PIXELS if tag in attributes]
    for path, element in _walk(attributes, ""):
        if element.VR == "UI":
            if not all(_is_closed(uid, new) for uid in read_values(element)):
                yield Reason(Verdict.QUARANTINE, "foreign-uid", path)
        elif any(cleaned.identifiers.finds(value) for value in read_values(element)):
            yield Reason(Verdict.QUARANTINE, "identifier-left", path)
    header = _cut_out(written, [element.value for element in pixels if element is not None])
    if _is_in_bytes(header, cleaned.identifiers, new):
        yield Reason(Verdict.QUARANTINE, "identifier-in-bytes")


def _walk(attributes: Dataset, path: str) -> Iterator[tuple[str, DataElement]]:
    for tag in list(attributes.keys()):
        raw = attributes.get_item(tag)
        if raw is None or tag in STRUCTURAL or raw.VR not in (None, "SQ", "UN", "UI", *_TEXT_VRS):
            continue
        element = attributes[tag]
        here = f"{path}{tag:08X}"
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _walk(item, f"{here}.")
        elif element.VR == "UI" or element.VR in _TEXT_VRS:
            yield here, element


def _is_closed(uid: str, new: set[str]) -> bool:
    plain = uid.strip(" \0")
    return is_registered(plain) or plain in new


def _cut_out(written: bytes, values: list[object]) -> bytes:
    """Return a file without its pixel values, in which any short word may stand by chance."""
    for value in values:
        if isinstance(value, bytes) and len(value) > 1024:
            start = written.find(value)
            if start >= 0:
                written = written[:start] + written[start + len(value) :]
    return written


def _is_in_bytes(header: bytes, identifiers: Identifiers, new: set[str]) -> bool:
    """Search what is left of a file for what a data set's elements do not show."""
    folded = header.lower()
    old = (uid for uid in identifiers.uids if len(uid) > _SHORTEST_UID and uid not in new)
    if any(uid.encode("ascii", "replace") in header for uid in old):
        return True
    return any(needle in folded for needle in _make_needles(identifiers))


def _make_needles(identifiers: Identifiers) -> Iterator[bytes]:
    # digits alone stand in new UIDs by chance; where they stand as text, the elements told
    for word in identifiers.words:
        if len(word) >= _SHORTEST_SEARCHED and not word.isdigit():
            for encoding in _ENCODINGS:
                try:
                    yield word.encode(encoding)
                except UnicodeEncodeError:
                    continue  # it cannot stand in a file in this encoding
