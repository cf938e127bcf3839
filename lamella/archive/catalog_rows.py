"""Reading catalog rows by id. A row never changes, so one that was read lately is still right.

SQL → row ids → CatalogRows → Row, whose DICOM JSON is decoded when somebody looks at it

Rows are kept as they are stored: decoded they would take nine times as much memory, and giving that
back costs as much as decoding them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.catalog import decode_attributes, pick_attributes, split_attributes
from lamella.archive.clauses import compare, is_one_of, join_all
from lamella.archive.statements import fetch_text

IDS_PER_STATEMENT: Final = 500
ROW_OVERHEAD_BYTES: Final = 500
"""What a kept row takes in memory besides its DICOM JSON, about."""

StoredRow = tuple[int, str, str | None, bytes]
"""Row id, Study and Series Instance UID, encoded DICOM JSON."""


class Row:
    """One match.

    Attributes:
        row_id: Id of the study row (of the series row, for a series) in its dataset.
        series_uid: None for a study or patient.
        study: Of a series in a result: the row of its study, if the view has one.
    """

    __slots__ = ("_attributes", "_data", "row_id", "series_uid", "study", "study_uid")

    def __init__(
        self,
        row_id: int,
        study_uid: str,
        series_uid: str | None,
        data: bytes,
        study: Row | None = None,
    ) -> None:
        self.row_id = row_id
        self.study_uid = study_uid
        self.series_uid = series_uid
        self.study = study
        self._data = data
        self._attributes: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Study and Series Instance UID; '' for a study's or patient's series."""
        return self.study_uid, self.series_uid or ""

    @property
    def attributes(self) -> dict[str, Any]:
        """DICOM JSON; of a series with those of its study."""
        if self._attributes is None:
            own = decode_attributes(self._data)
            if self.study is not None:
                own = dict(sorted((self.study.attributes | own).items()))
            self._attributes = own
        return self._attributes

    def pick(self, tags: frozenset[str]) -> Mapping[str, Any]:
        """Return the attributes of these tags, perhaps with others; the rest is not decoded."""
        if self._attributes is not None or self.study is not None:
            return self.attributes
        return pick_attributes(self._data, tags)

    @property
    def elements(self) -> Mapping[str, msgspec.Raw]:
        """The JSON of each attribute, as it is stored; of a series with those of its study."""
        own = split_attributes(self._data)
        return own if self.study is None else {**self.study.elements, **own}

    @property
    def identity(self) -> tuple[int, int]:
        """What tells the attributes from those of any other row of the dataset."""
        return self.row_id, 0 if self.study is None else self.study.row_id

    def within(self, study: Row | None) -> Row:
        """Return this series with the attributes of its study."""
        return Row(self.row_id, self.study_uid, self.series_uid, self._data, study)


class RowCache(Protocol):
    """Keeps committed rows by (dataset id, row id); a dataset gives out an id but once."""

    def get(self, key: tuple[int, int]) -> StoredRow | None:
        """Return a row, or None."""

    def put(self, key: tuple[int, int], value: StoredRow, weight: int = 1) -> None:
        """Keep a row of so many bytes."""


class CatalogRows:
    """The rows of one dataset, read within a transaction.

    Args:
        connection: The transaction; one that has made rows itself must come without a cache.
        dataset_id: The dataset.
        cache: Of rows.
    """

    def __init__(
        self, connection: sa.Connection, dataset_id: int, cache: RowCache | None = None
    ) -> None:
        self._connection = connection
        self._dataset_id = dataset_id
        self._cache = cache

    def read_studies(self, ids: Sequence[int]) -> Iterator[Row]:
        """Yield the study rows of these ids, in that order."""
        return self._read("study_row", "NULL", ids)

    def read_series(self, ids: Sequence[int]) -> Iterator[Row]:
        """Yield the series rows of these ids, in that order, without their studies."""
        return self._read("series_row", "series_uid", ids)

    def read_studies_of(self, uids: Iterable[str], visible: BitMap) -> dict[str, Row]:
        """Return the visible study rows of these studies by UID."""
        ids: list[int] = []
        for chunk in _split(sorted(uids)):
            where = join_all(
                [compare("dataset_id", "=", self._dataset_id), is_one_of("study_uid", chunk)]
            )
            text = f"SELECT row_id FROM study_row WHERE {where.text}"
            found = fetch_text(self._connection, text, where.values)
            ids += [row_id for (row_id,) in found if row_id in visible]
        return {row.study_uid: row for row in self.read_studies(ids)}

    def _read(self, table: str, series_uid: str, ids: Sequence[int]) -> Iterator[Row]:
        found: dict[int, Row] = {}
        if self._cache is not None:
            known = ((row_id, self._cache.get((self._dataset_id, row_id))) for row_id in ids)
            found = {row_id: Row(*stored) for row_id, stored in known if stored is not None}
        missing = [row_id for row_id in ids if row_id not in found]
        for chunk in _split(missing):
            where = join_all(
                [compare("dataset_id", "=", self._dataset_id), is_one_of("row_id", chunk)]
            )
            columns = f"row_id, study_uid, {series_uid}, attributes"
            text = f"SELECT {columns} FROM {table} WHERE {where.text}"
            for values in fetch_text(self._connection, text, where.values):
                row_id, study_uid, own_uid, data = values
                found[row_id] = Row(row_id, study_uid, own_uid, data)
                if self._cache is not None:
                    stored = (row_id, study_uid, own_uid, data)
                    weight = ROW_OVERHEAD_BYTES + len(data)
                    self._cache.put((self._dataset_id, row_id), stored, weight)
        return (found[row_id] for row_id in ids)


def _split(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), IDS_PER_STATEMENT):
        yield items[start : start + IDS_PER_STATEMENT]
