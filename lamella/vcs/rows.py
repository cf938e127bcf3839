"""Catalog rows of a tree: which study and series rows a commit begins and ceases to see.

Rows are a function of the tree: a row's attributes come from the instance with the lowest SOP
Instance UID, plus unions over what is below it. So a commit that adds an instance to a known
series usually changes no row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.attribute_index import AttributeIndex, list_written
from lamella.archive.catalog import (
    intern_series_rows,
    intern_study,
    read_text,
    series_attributes,
    series_row,
    study_attributes,
    study_row,
)
from lamella.archive.levels import MODALITY, Level
from lamella.archive.search import Visible
from lamella.archive.statements import Statement
from lamella.errors import IntegrityError
from lamella.vcs.stored import key_of_entry, load_documents
from lamella.vcs.tree import SeriesChange, StudyChange, Subtree, Tree
from lamella.vcs.visible import RowDelta

_READ_SERIES_ROWS = Statement(
    sa.select(series_row.c.row_id, series_row.c.series_uid, series_row.c.modality).where(
        series_row.c.dataset_id == sa.bindparam("dataset_id"),
        series_row.c.study_uid == sa.bindparam("study_uid"),
    )
)
_READ_STUDY_ROWS = Statement(
    sa.select(study_row.c.row_id).where(
        study_row.c.dataset_id == sa.bindparam("dataset_id"),
        study_row.c.study_uid == sa.bindparam("study_uid"),
    )
)


SERIES_AT_ONCE = 50
"""Rows that are made together: a round trip each would be most of a commit on PostgreSQL; and
so many documents are held in memory meanwhile."""


def _list_sop_classes(study: Subtree | None) -> tuple[str, ...]:
    return () if study is None else study.summary.sop_classes


class RowKeeper:
    """Finds or makes the rows of changed studies, and gathers the delta."""

    def __init__(
        self,
        connection: sa.Connection,
        dataset_id: int,
        allocate: Callable[[], int],
        visible: Visible,
        indexes: Sequence[AttributeIndex] = (),
    ) -> None:
        self._indexes_of_studies = list_written(indexes, Level.STUDY)
        self._indexes_of_series = list_written(indexes, Level.SERIES)
        self.delta = RowDelta()
        self._connection = connection
        self._dataset_id = dataset_id
        self._allocate = allocate
        self._visible = visible

    def follow(self, old: Tree, new: Tree) -> RowDelta:
        """Return what changes for a commit that turns one tree into another."""
        for study in old.changed_studies(new):
            self._follow_study(old, new, study)
        return self.delta

    def _follow_study(self, old: Tree, new: Tree, study: StudyChange) -> None:
        uid = study.study_uid
        changed = [
            change
            for change in old.changed_series_of(study)
            if not self._has_same_first(old, new, change)
        ]
        if not changed and _list_sop_classes(study.old) == _list_sop_classes(study.new):
            return  # the usual case: more of a known series
        before = self._read_series_rows(uid)
        after = dict(before)
        for change in changed:
            after.pop(change.series_uid, None)
        left = [change.series_uid for change in changed if change.new is not None]
        for start in range(0, len(left), SERIES_AT_ONCE):
            after |= self._make_series_rows(new, uid, left[start : start + SERIES_AT_ONCE])
        self._note_series(before, after)
        row_before = self._read_study_row(uid)
        row_after = None if study.new is None else self._make_study_row(new, uid, after)
        if row_before != row_after:
            self.delta.studies_removed |= {row_before} if row_before is not None else set()
            self.delta.studies_added |= {row_after} if row_after is not None else set()

    def _note_series(
        self, before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]]
    ) -> None:
        ids_before = {row_id for row_id, _ in before.values()}
        ids_after = {row_id for row_id, _ in after.values()}
        self.delta.series_removed |= ids_before - ids_after
        self.delta.series_added |= ids_after - ids_before

    def _has_same_first(self, old: Tree, new: Tree, change: SeriesChange) -> bool:
        """Tell whether the instance that a series' row is made from is the very same."""
        if change.old is None or change.new is None:
            return False
        first = change.new.summary.first_sop_uid
        if change.old.summary.first_sop_uid != first:
            return False
        names = (change.study_uid, change.series_uid, first)
        return old.entry(*names) == new.entry(*names)

    def _make_series_rows(
        self, tree: Tree, study_uid: str, series_uids: Sequence[str]
    ) -> dict[str, tuple[int, str]]:
        """Return a study's rows of these series: series UID → (row id, modality)."""
        keys = [self._find_first(tree, study_uid, one) for one in series_uids]
        documents = load_documents(self._connection, self._dataset_id, keys)
        attributes = [
            series_attributes(msgspec.json.decode(documents[key].dicom_json)) for key in keys
        ]
        row_ids = intern_series_rows(
            self._connection,
            self._dataset_id,
            attributes,
            self._allocate,
            self._indexes_of_series,
        )
        modalities = (read_text(one, MODALITY) for one in attributes)
        return dict(zip(series_uids, zip(row_ids, modalities, strict=True), strict=True))

    def _find_first(self, tree: Tree, study_uid: str, series_uid: str) -> bytes:
        """Return the key of the instance that a series' row is made from."""
        series = tree.find_series(study_uid, series_uid)
        if series is None:
            raise IntegrityError(f"series {series_uid} is missing from its tree")
        return self._find_key(tree, study_uid, series_uid, series.summary.first_sop_uid)

    def _make_study_row(
        self, tree: Tree, study_uid: str, series: dict[str, tuple[int, str]]
    ) -> int:
        study = tree.find_study(study_uid)
        if study is None:
            raise IntegrityError(f"study {study_uid} is missing from its tree")
        first = study.summary.first_sop_uid
        home = next(s for s, one in tree.series(study_uid) if one.summary.first_sop_uid == first)
        modalities = sorted({modality for _, modality in series.values() if modality})
        attributes = study_attributes(
            self._read_first(tree, study_uid, home, first),
            modalities=modalities,
            sop_classes=list(study.summary.sop_classes),
        )
        return intern_study(
            self._connection,
            self._dataset_id,
            attributes,
            self._allocate,
            self._indexes_of_studies,
        )

    def _read_first(self, tree: Tree, study: str, series: str, sop: str) -> dict[str, Any]:
        key = self._find_key(tree, study, series, sop)
        document = load_documents(self._connection, self._dataset_id, [key])[key]
        attributes: dict[str, Any] = msgspec.json.decode(document.dicom_json)
        return attributes

    @staticmethod
    def _find_key(tree: Tree, study: str, series: str, sop: str) -> bytes:
        entry = tree.entry(study, series, sop)
        if entry is None:
            raise IntegrityError(f"instance {sop} is missing from its tree")
        return key_of_entry(entry)

    def _read_series_rows(self, study_uid: str) -> dict[str, tuple[int, str]]:
        """Return the visible rows of a study's series: series UID → (row id, modality)."""
        names = {"dataset_id": self._dataset_id, "study_uid": study_uid}
        return {
            series_uid: (row_id, modality)
            for row_id, series_uid, modality in _READ_SERIES_ROWS.fetch_all(self._connection, names)
            if row_id in self._visible.series
        }

    def _read_study_row(self, study_uid: str) -> int | None:
        names = {"dataset_id": self._dataset_id, "study_uid": study_uid}
        for row_id in _READ_STUDY_ROWS.fetch_values(self._connection, names):
            if row_id in self._visible.studies:
                return int(row_id)
        return None
