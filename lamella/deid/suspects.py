"""Instances that a header's cleaning alone cannot answer for.

Source:
    PS3.15 §E.1.1, §E.3.2; DEID.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset

from lamella.deid.results import Reason, Verdict

_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_VOICES = ("1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2")
_DIRECTORY = "1.2.840.10008.1.3.10"
_DOCUMENT, _DIRECTORY_RECORDS = 0x00420011, 0x00041220
_OVERLAY_BIT_POSITION, _OVERLAY_DATA = 0x0102, 0x3000


def find_reasons(attributes: Dataset, sop_class_uid: str) -> tuple[Reason, ...]:
    """Return why an instance may not go on, or not without a person."""
    return (*_find_quarantine(attributes, sop_class_uid), *_find_review(attributes))


def _find_quarantine(attributes: Dataset, sop_class_uid: str) -> Iterator[Reason]:
    if sop_class_uid.startswith(_ENCAPSULATED) or _DOCUMENT in attributes:
        yield Reason(Verdict.QUARANTINE, "encapsulated-document")
    if sop_class_uid == _DIRECTORY or _DIRECTORY_RECORDS in attributes:
        yield Reason(Verdict.QUARANTINE, "directory")
    if sop_class_uid in _VOICES:
        yield Reason(Verdict.QUARANTINE, "voice")
    if not sop_class_uid or "SOPInstanceUID" not in attributes:
        yield Reason(Verdict.QUARANTINE, "no-identity")


def _find_review(attributes: Dataset) -> Iterator[Reason]:
    """Find overlays that lie in unused bits of the pixels: they stay when their groups go."""
    for group in range(0x6000, 0x6100, 2):
        tag = group << 16
        if tag | _OVERLAY_BIT_POSITION in attributes and tag | _OVERLAY_DATA not in attributes:
            yield Reason(Verdict.REVIEW, "overlay-in-pixels", f"{group:04X}0102")
