"""The written bytes read again: nothing of what the source's header told may be in them.

Source:
    DEID, step 9.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator, Sequence, Set
from struct import unpack_from
from typing import NamedTuple

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from lamella.deid.element_kinds import STRUCTURAL, find_vr
from lamella.deid.identifiers import Identifiers
from lamella.deid.leaves import PIXELS, TEXTS, LeafReader, Odd
from lamella.deid.lenient import UNREADABLE, lenient
from lamella.deid.replacements import read_values
from lamella.deid.results import Cleaned, Reason, Verdict
from lamella.deid.uids import is_registered

_SHORTEST_SEARCHED = 6
_SHORTEST_UID = 12
_UID_LIKE = re.compile(rb"[0-9.]{%d,}" % _SHORTEST_UID)
_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_SYNTAX = 0x00020010
_META_AT = 132
_META_LENGTH_AT = _META_AT + 8
_SHORT_PIXELS_BYTES = 1024


class _Told(NamedTuple):
    """An element's path and VR, and its values as text."""

    path: str
    vr: str
    values: Sequence[str]


def verify(written: bytes, cleaned: Cleaned) -> tuple[Reason, ...]:
    """Return what is wrong with the file that a cleaned instance became. Empty: nothing.

    Args:
        written: The file's bytes.
        cleaned: What it was written from: for what the source told, and which UIDs are new or
            stay because the profile says so.
    """
    try:
        return tuple(_examine(written, cleaned))
    except (*UNREADABLE, Odd, zlib.error):
        return (Reason(Verdict.QUARANTINE, "unreadable"),)


def _examine(written: bytes, cleaned: Cleaned) -> Iterator[Reason]:
    if any(written[:128]):
        yield Reason(Verdict.QUARANTINE, "preamble")
    new = cleaned.kept_uids | set(cleaned.uids.values())
    start, syntax = _read_meta(written)
    body = written[start:]
    if syntax == DeflatedExplicitVRLittleEndian:
        body = zlib.decompress(body, -zlib.MAX_WBITS)
    told, header = _read(body, syntax)
    for path, vr, values in told:
        if vr == "UI" and not all(_is_closed(uid, new) for uid in values):
            yield Reason(Verdict.QUARANTINE, "foreign-uid", path)
    texts = [one for one in told if one.vr != "UI"]
    for path in _find_told(texts, cleaned.identifiers):
        yield Reason(Verdict.QUARANTINE, "identifier-left", path)
    if _is_in_bytes(written[:start] + header, cleaned.identifiers, new):
        yield Reason(Verdict.QUARANTINE, "identifier-in-bytes")


def _read_meta(written: bytes) -> tuple[int, str]:
    """Return where a file's data set begins, and its transfer syntax."""
    (meta_bytes,) = unpack_from("<I", written, _META_LENGTH_AT)
    start = _META_LENGTH_AT + 4 + meta_bytes
    meta = LeafReader(written[_META_AT:start], explicit=True, big=False)
    meta.read()
    syntaxes = [leaf.read()[0].strip("\0") for leaf in meta.leaves if leaf.tag == _SYNTAX]
    return start, syntaxes[0]


def _read(body: bytes, syntax: str) -> tuple[list[_Told], bytes]:
    """Return what a data set tells, and its bytes without long pixel values.

    Args:
        body: Its bytes, inflated.
        syntax: They are in.
    """
    explicit, big = syntax != ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    try:
        reader = LeafReader(body, explicit=explicit, big=big)
        reader.read()
    except Odd:
        return _read_slowly(body, explicit=explicit, big=big)
    told = [
        _Told(leaf.path, leaf.vr, leaf.read())
        for leaf in reader.leaves
        if leaf.tag not in STRUCTURAL
    ]
    return told, _cut_out(body, reader.pixels)


def _read_slowly(body: bytes, *, explicit: bool, big: bool) -> tuple[list[_Told], bytes]:
    """Do the same with pydicom, which knows the VRs of private elements."""
    with lenient():
        attributes = read_dataset(io.BytesIO(body), not explicit, not big)
        told = list(_walk(attributes, ""))
        pixels = [attributes.get_item(tag) for tag in PIXELS if tag in attributes]
    values = [one.value for one in pixels if one is not None and isinstance(one.value, bytes)]
    starts = [(body.find(value), len(value)) for value in values]
    return told, _cut_out(body, [(start, start + size) for start, size in starts if start >= 0])


def _walk(attributes: Dataset, path: str) -> Iterator[_Told]:
    for tag in list(attributes.keys()):
        raw = attributes.get_item(tag)
        vr = find_vr(raw)
        if raw is None or tag in STRUCTURAL or vr not in ("SQ", "UN", "UI", *TEXTS):
            continue
        element = attributes[tag]
        here = f"{path}{tag:08X}"
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _walk(item, f"{here}.")
        elif element.VR == "UI" or element.VR in TEXTS:
            yield _Told(here, element.VR, read_values(element))


def _is_closed(uid: str, new: Set[str]) -> bool:
    plain = uid.strip(" \0")
    return is_registered(plain) or plain in new


def _find_told(texts: Sequence[_Told], identifiers: Identifiers) -> Iterator[str]:
    """Find the paths of texts in which something of the header stands."""
    if not identifiers.may_stand_in("\n".join("\n".join(one.values) for one in texts)):
        return
    for path, _, values in texts:
        if any(identifiers.finds(value) for value in values):
            yield path


def _cut_out(content: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """Return bytes without the long ones of some spans, in which a word may stand by chance."""
    for start, end in sorted(spans, reverse=True):
        if end - start > _SHORT_PIXELS_BYTES:
            content = content[:start] + content[end:]
    return content


def _is_in_bytes(header: bytes, identifiers: Identifiers, new: Set[str]) -> bool:
    """Search what is left of a file for what a data set's elements do not show."""
    # one that goes may be how one that stays begins
    staying = {uid.encode("ascii", "replace") for uid in new}
    numbers = b" ".join(set(_UID_LIKE.findall(header)) - staying)
    for uid in identifiers.uids:
        if len(uid) > _SHORTEST_UID and uid not in new:
            sought = uid.encode("ascii", "replace")
            if sought in (numbers if _UID_LIKE.fullmatch(sought) else header):
                return True
    folded = header.lower()
    return any(needle in folded for needle in _make_needles(identifiers))


def _make_needles(identifiers: Identifiers) -> Iterator[bytes]:
    # digits alone stand in new UIDs by chance; where they stand as text, the elements told
    for word in identifiers.words:
        if len(word) < _SHORTEST_SEARCHED or word.isdigit():
            continue
        if word.isascii():
            letters = word.encode("ascii")
            yield letters
            # UTF-16 in either order of bytes, but for the byte at the end that they do not share
            yield b"\0".join(letters[index : index + 1] for index in range(len(letters)))
            continue
        for encoding in _ENCODINGS:
            try:
                yield word.encode(encoding)
            except UnicodeEncodeError:
                continue  # it cannot stand in a file in this encoding
