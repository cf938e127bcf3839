"""The same, a version, or a conflict: what a store means where its UID is known.

The same      equal bytes, or equal values under another encoding: nothing to do.
A version     study, series, SOP class, patient and bulk values agree; the header differs.
A conflict    anything else under a known SOP Instance UID, and a known study that arrives
              under another patient: head stays, the bytes are queued for a person.

Dataset policy `replace` takes any bytes for a new version as long as the UID stays in its
series; `reject` takes no new version.

What was rejected for patient safety or as of a wrong worklist entry is in conflict, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from lamella.archive.statements import Statement
from lamella.archive.tables import instance
from lamella.errors import Conflict
from lamella.vcs.refs import DatasetRow
from lamella.vcs.rejection_notes import Reason, load_note
from lamella.vcs.rejections import AppliedNote, find_hiding_reason
from lamella.vcs.stored import StoredInstance, key_of_entry, load_instances
from lamella.vcs.tree import Entry, InstanceKey, Tree

_FIND_PLACES = Statement(
    sa.select(instance.c.study_uid, instance.c.series_uid).where(
        instance.c.dataset_id == sa.bindparam("dataset_id"),
        instance.c.sop_uid == sa.bindparam("sop_uid"),
    )
)


class Verdict(StrEnum):
    """What became of one instance."""

    STORED = "stored"
    VERSION = "version"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, with the reason where it is a conflict (no patient values)."""

    verdict: Verdict
    reason: str = ""


class Judge:
    """Judges instances against a tree and the changes that will be applied to it first."""

    def __init__(self, connection: sa.Connection, owner: DatasetRow, tree: Tree) -> None:
        self.changes: dict[InstanceKey, Entry | None] = {}
        self.rejections: list[AppliedNote] = []
        self._connection = connection
        self._dataset_id = owner.id
        self._tree = tree
        self._duplicates = owner.duplicates
        self._hides = owner.hidden is not None
        self._hidden: dict[InstanceKey, Reason] = {}  # by notes among the changes
        self._pending: dict[str, StoredInstance] = {}
        self._patients: dict[str, tuple[str, str] | None] = {}

    def judge(self, incoming: StoredInstance) -> Judgement:
        """Judge one instance; what it changes is noted in `changes`.

        A rejection note takes what it rejects out of the tree.
        """
        judgement = self.restore(incoming)
        if judgement.verdict in (Verdict.STORED, Verdict.VERSION):
            self._apply_note(incoming)
        return judgement

    def restore(self, incoming: StoredInstance) -> Judgement:
        """Judge an instance that was here before: if it is a note, it rejects nothing anew."""
        reason = self._find_hiding_reason(incoming.names)
        if reason is not None:
            return Judgement(
                Verdict.CONFLICT, f"The instance was rejected ({reason}, DCM, {reason.meaning})."
            )
        judgement = self._compare(self._find_known(incoming), incoming)
        if judgement.verdict in (Verdict.STORED, Verdict.VERSION):
            self._take(incoming)
        return judgement

    def accept(self, incoming: StoredInstance) -> Judgement:
        """Note that an instance takes the place of what is known under its UID, wherever it is.

        Raises:
            Conflict: It is hidden by a rejection.
        """
        reason = self._find_hiding_reason(incoming.names)
        if reason is not None:
            raise Conflict(
                f"Instance {incoming.sop_uid} was rejected ({reason}, DCM, {reason.meaning}): "
                "lift the rejection first."
            )
        known = self._find_known(incoming)
        if known is not None and known.key == incoming.key:
            return Judgement(Verdict.UNCHANGED)
        if known is not None and known.names != incoming.names:
            self.delete(known.names)
        self._take(incoming)
        self._apply_note(incoming)
        return Judgement(Verdict.STORED if known is None else Verdict.VERSION)

    def accept_version(self, incoming: StoredInstance) -> Judgement:
        """Note that an instance is a new version of the one of its UID in its own series.

        Raises:
            Conflict: Its series has none, or it is hidden by a rejection.
        """
        known = self._find_known(incoming)
        if known is None or known.names != incoming.names:
            raise Conflict(
                f"Series {incoming.series_uid} has no instance {incoming.sop_uid} "
                "that this could be a version of."
            )
        return self.accept(incoming)

    def find_replaced(self, incoming: StoredInstance) -> StoredInstance | None:
        """Return the pending instance that this one is a new version of, if there is one."""
        pending = self._pending.get(incoming.sop_uid)
        if pending is None or self._compare(pending, incoming).verdict is not Verdict.VERSION:
            return None
        return pending

    def delete(self, key: InstanceKey) -> Judgement:
        """Note that an instance is removed; one that is not there stays away."""
        pending = self.changes.get(key)
        if pending is None and (key in self.changes or self._tree.entry(*key) is None):
            return Judgement(Verdict.UNCHANGED)
        if pending is not None:
            del self._pending[key[2]]
        self.changes[key] = None
        self._patients.pop(key[0], None)
        return Judgement(Verdict.DELETED)

    def rejects_pending(self, incoming: StoredInstance) -> bool:
        """Tell whether this is a note that rejects what is only among the changes so far."""
        note = load_note(self._connection, self._dataset_id, incoming)
        return note is not None and any(self.changes.get(one) for one in note.references)

    def _apply_note(self, incoming: StoredInstance) -> None:
        note = load_note(self._connection, self._dataset_id, incoming)
        if note is None:
            return
        removed: dict[InstanceKey, bytes | None] = {}
        for names in note.references:
            entry = None if names in self.changes else self._tree.entry(*names)
            removed[names] = None if entry is None else key_of_entry(entry)
            self.delete(names)
            if note.reason.hides_everywhere:
                self._hidden[names] = note.reason
        self.rejections.append(AppliedNote(note, removed))

    def _find_hiding_reason(self, names: InstanceKey) -> Reason | None:
        """Return why an instance may not be stored, or None."""
        reason = self._hidden.get(names)
        if reason is None and self._hides:
            reason = find_hiding_reason(self._connection, self._dataset_id, names)
        return reason

    def _take(self, incoming: StoredInstance) -> None:
        self.changes[incoming.names] = incoming.to_entry()
        self._pending[incoming.sop_uid] = incoming
        if self._patients.get(incoming.study_uid) is None:  # None: it had no patient yet
            self._patients[incoming.study_uid] = incoming.patient

    def _compare(self, known: StoredInstance | None, incoming: StoredInstance) -> Judgement:
        if known is None:
            return self._judge_newcomer(incoming)
        if known.key == incoming.key:
            return Judgement(Verdict.UNCHANGED)
        if (known.study_uid, known.series_uid) != (incoming.study_uid, incoming.series_uid):
            return Judgement(Verdict.CONFLICT, "The SOP Instance UID is known in another series.")
        if self._duplicates == "replace":
            return Judgement(Verdict.VERSION)
        if known.content_digest == incoming.content_digest:
            return Judgement(Verdict.UNCHANGED)
        reason = self._find_difference(known, incoming)
        return Judgement(Verdict.CONFLICT, reason) if reason else Judgement(Verdict.VERSION)

    def _find_difference(self, known: StoredInstance, incoming: StoredInstance) -> str:
        if self._duplicates == "reject":
            return "The SOP Instance UID is known, and the dataset takes no new versions."
        if known.patient != incoming.patient:
            return "The SOP Instance UID is known under another patient."
        if known.sop_class_uid != incoming.sop_class_uid:
            return "The SOP Instance UID is known with another SOP class."
        if known.bulk_digest != incoming.bulk_digest:
            return "The SOP Instance UID is known with other pixel or bulk values."
        return ""

    def _judge_newcomer(self, incoming: StoredInstance) -> Judgement:
        patient = self._find_patient(incoming.study_uid)
        if patient is not None and patient != incoming.patient and self._duplicates != "replace":
            return Judgement(
                Verdict.CONFLICT, "The Study Instance UID is known under another patient."
            )
        return Judgement(Verdict.STORED)

    def _find_known(self, incoming: StoredInstance) -> StoredInstance | None:
        pending = self._pending.get(incoming.sop_uid)
        if pending is not None:
            return pending
        here = (incoming.study_uid, incoming.series_uid)
        places = [here, *find_places(self._connection, self._dataset_id, incoming.sop_uid)]
        for study_uid, series_uid in dict.fromkeys(places):
            key = (study_uid, series_uid, incoming.sop_uid)
            entry = None if key in self.changes else self._tree.entry(*key)
            if entry is not None:
                return self._load(entry)
        return None

    def _find_patient(self, study_uid: str) -> tuple[str, str] | None:
        """Return whose study it is: the patient of its first instance, as far as it is known."""
        if study_uid not in self._patients:
            self._patients[study_uid] = self._read_patient(study_uid)
        return self._patients[study_uid]

    def _read_patient(self, study_uid: str) -> tuple[str, str] | None:
        for (study, _, sop_uid), entry in self.changes.items():
            if study == study_uid and entry is not None:
                return self._pending[sop_uid].patient
        for series_uid, series in self._tree.series(study_uid):
            first = self._tree.entry(study_uid, series_uid, series.summary.first_sop_uid)
            if first is not None and not self._is_removed(study_uid, series_uid):
                return self._load(first).patient
        return None

    def _is_removed(self, study_uid: str, series_uid: str) -> bool:
        """Tell whether all instances of a series are about to be deleted."""
        gone = {
            sop
            for (s, e, sop), entry in self.changes.items()
            if (s, e) == (study_uid, series_uid) and entry is None
        }
        return bool(gone) and all(
            sop_uid in gone for sop_uid, _ in self._tree.instances(study_uid, series_uid)
        )

    def _load(self, entry: Entry) -> StoredInstance:
        key = key_of_entry(entry)
        return load_instances(self._connection, self._dataset_id, [key])[key]


def find_places(connection: sa.Connection, dataset_id: int, sop_uid: str) -> list[tuple[str, str]]:
    """Return where an instance was ever sent to: (study, series); verify them in a view."""
    names = {"dataset_id": dataset_id, "sop_uid": sop_uid}
    return sorted({(row[0], row[1]) for row in _FIND_PLACES.fetch_all(connection, names)})
