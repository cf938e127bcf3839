"""One instance's own replacements: its patient's pseudonym and shift, its UIDs."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydicom import Dataset

from lamella.deid.dummies import REMOVED
from lamella.deid.keys import ProjectKey
from lamella.deid.lenient import UNREADABLE
from lamella.deid.uids import is_registered


def read_text(attributes: Dataset, keyword: str) -> str:
    """Return the first value of an attribute at the top as text; empty if there is none."""
    try:
        value = attributes.get(keyword)
    except UNREADABLE:
        return ""
    if isinstance(value, (list, tuple)) or hasattr(value, "append"):
        value = value[0] if value else None
    return "" if value is None else str(value).strip(" \0")


@dataclass
class Subject:
    """What the key makes of one instance's names and UIDs.

    Attributes:
        key: The project's.
        patient_id: As it was.
        issuer: Of that id.
        name: The patient's, as it was.
        shift_days: By how much dates move.
        uids: Old to new, as they are met; to themselves if they stay everywhere.
        kept_uids: Those that stay somewhere.
        patients: Old to new, as they are met.
    """

    key: ProjectKey
    patient_id: str
    issuer: str
    name: str
    shift_days: int
    uids: dict[str, str] = field(default_factory=dict)
    kept_uids: set[str] = field(default_factory=set)
    patients: dict[str, str] = field(default_factory=dict)

    def map_uid(self, uid: str) -> str:
        """Return a UID's replacement; what the standard defines stays."""
        if is_registered(uid):
            return uid
        new = self.uids.get(uid)
        if new is None or uid in self.kept_uids:
            new = self.uids[uid] = self.key.map_uid(uid)
        return new

    def keep_uid(self, uid: str) -> None:
        """Note that a UID stays here, even if a rule replaces it elsewhere."""
        if not is_registered(uid):
            self.kept_uids.add(uid)
            self.uids.setdefault(uid, uid)

    def map_patient_id(self, patient_id: str) -> str:
        """Return a patient id's pseudonym; none for none."""
        if not patient_id:
            return ""
        pseudonym = self.key.map_patient_id(patient_id, self.issuer)
        return self.patients.setdefault(patient_id, pseudonym)

    def map_name(self, name: str) -> str:
        """Return what stands for a patient's name: the pseudonym, if it is this patient's."""
        if not name:
            return ""
        if name != self.name:
            return REMOVED
        return self.map_patient_id(self.patient_id) or REMOVED


def read_subject(attributes: Dataset, key: ProjectKey, limit_days: int) -> Subject:
    """Return the subject of a data set.

    A patient without an id is told from others by name and birth date: the dates of all who have
    none would move alike otherwise, and those of one patient apart.
    """
    patient_id = read_text(attributes, "PatientID")
    issuer = read_text(attributes, "IssuerOfPatientID")
    name = read_text(attributes, "PatientName")
    who = patient_id or f"{name}|{read_text(attributes, 'PatientBirthDate')}"
    shift_days = key.shift_days(who, issuer, limit_days=limit_days)
    return Subject(key, patient_id, issuer, name, shift_days)
