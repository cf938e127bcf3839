"""Rejection notes: Key Object Selection documents that say what must not be used.

Source:
    IHE RAD TF-3 §4.66 (Rejection Note Stored, IOCM); PS3.3 §A.35.4 (Key Object Selection
    Document); PS3.16 CID 7011 (Rejected for Quality Reasons) and CID 7010.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.vcs.stored import StoredInstance, load_documents
from lamella.vcs.tree import InstanceKey

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"

_UID = re.compile(r"[0-9][0-9.]{0,63}")
_TITLE, _CODE, _SCHEME = "0040A043", "00080100", "00080102"
_CONTENT, _EVIDENCE = "0040A730", "0040A375"
_SERIES, _INSTANCES = "00081115", "00081199"
_STUDY_UID, _SERIES_UID, _SOP_UID = "0020000D", "0020000E", "00081155"


class Reason(StrEnum):
    """Why instances were rejected, as coded by the document's title (DCM)."""

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WRONG_WORKLIST_ENTRY = "113038"
    RETENTION_EXPIRED = "113039"

    @property
    def meaning(self) -> str:
        """The code's meaning."""
        return _MEANINGS[self]

    @property
    def hides_everywhere(self) -> bool:
        """Whether nothing of it may be seen at any revision, nor be stored again.

        Source:
            IHE RAD TF-3 §4.66.4.2.3.1 and §4.66.4.3.3: instances that have been hidden are not
            accepted again.
        """
        return self in HIDES_EVERYWHERE


HIDES_EVERYWHERE = (Reason.PATIENT_SAFETY, Reason.WRONG_WORKLIST_ENTRY)
_MEANINGS = {
    Reason.QUALITY: "Rejected for Quality Reasons",
    Reason.PATIENT_SAFETY: "Rejected for Patient Safety Reasons",
    Reason.WRONG_WORKLIST_ENTRY: "Incorrect Modality Worklist Entry",
    Reason.RETENTION_EXPIRED: "Data Retention Policy Expired",
}


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """A rejection note.

    Attributes:
        names: (Study, Series, SOP) Instance UID of the note itself.
        key: Under which its rows are kept.
        references: What it rejects, each once, in the note's order.
    """

    names: InstanceKey
    key: bytes
    reason: Reason
    references: tuple[InstanceKey, ...]


def load_note(
    connection: sa.Connection, dataset_id: int, stored: StoredInstance
) -> RejectionNote | None:
    """Return the rejection note that a stored instance is, or None if it is none."""
    if stored.sop_class_uid != KEY_OBJECT_SELECTION:
        return None
    document = load_documents(connection, dataset_id, [stored.key])[stored.key]
    attributes: dict[str, Any] = msgspec.json.decode(document.dicom_json)
    reason = read_reason(attributes)
    if reason is None:
        return None
    references = tuple(names for names in list_references(attributes) if names != stored.names)
    return RejectionNote(stored.names, stored.key, reason, references)


def read_reason(attributes: Mapping[str, Any]) -> Reason | None:
    """Return the reason that a document's title gives; None if it rejects nothing.

    Args:
        attributes: DICOM JSON of a Key Object Selection document.
    """
    for title in _list_items(attributes, _TITLE):
        if _read(title, _SCHEME) == "DCM" and _read(title, _CODE) in list(Reason):
            return Reason(_read(title, _CODE))
    return None


def list_references(attributes: Mapping[str, Any]) -> list[InstanceKey]:
    """Return what a Key Object Selection document refers to, each instance once.

    The evidence says where instances are, the content which of them are meant. A document
    without content, which some write, means all of its evidence.

    Args:
        attributes: DICOM JSON of the document.

    Source:
        PS3.3 §C.17.6.2.1 (the evidence has to list all that the content refers to).
    """
    meant = set(_list_meant(attributes))
    evidence = dict.fromkeys(_list_evidence(attributes))
    return [names for names in evidence if not meant or names[2] in meant]


def _list_evidence(attributes: Mapping[str, Any]) -> Iterator[InstanceKey]:
    for study in _list_items(attributes, _EVIDENCE):
        for series in _list_items(study, _SERIES):
            for instance in _list_items(series, _INSTANCES):
                names = (
                    _read(study, _STUDY_UID),
                    _read(series, _SERIES_UID),
                    _read(instance, _SOP_UID),
                )
                if all(map(_UID.fullmatch, names)):  # else nothing is stored under it
                    yield names


def _list_meant(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the SOP Instance UIDs that items of the content refer to, at any depth."""
    waiting = list(_list_items(attributes, _CONTENT))
    while waiting:
        item = waiting.pop()
        waiting += _list_items(item, _CONTENT)
        for reference in _list_items(item, _INSTANCES):
            if _read(reference, _SOP_UID):
                yield _read(reference, _SOP_UID)


def _list_items(attributes: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    values = attributes.get(tag, {}).get("Value", ())
    return [value for value in values if isinstance(value, dict)]


def _read(attributes: Mapping[str, Any], tag: str) -> str:
    values = attributes.get(tag, {}).get("Value") or [""]
    return values[0] if isinstance(values[0], str) else ""
