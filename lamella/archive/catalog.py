"""Catalog rows: the study- and series-level attributes of every version of a study or series.

A row is immutable, unique by (dataset, UID, digest of its attributes), and belongs to as many
commits as show it; which rows a commit shows is a bitmap that is kept with the commit. So rows
are only ever added, and a search at an old commit costs what one at the head costs.

`attributes` holds DICOM JSON, so that any attribute can be matched and returned; the other
columns are there to narrow a search and to order it. They are never null ('' when unknown) and
hold one value (several, joined by backslash, in `modalities` and `sop_classes`). `sort_key` is
the order of results made one text: of studies the newest first, of a study's series by number.

    study_attributes, series_attributes    instance's DICOM JSON → the level's attributes
    intern_study, intern_series_rows       attributes → row id
    search.search_studies, …               query, visible rows → page of rows
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from lamella.archive.attribute_index import (
    NAMES,
    AttributeIndex,
    list_row_entries,
    row_entry,
    write_entries,
)
from lamella.archive.database import metadata
from lamella.archive.levels import (
    COMPUTED,
    EVERY_LEVEL,
    MODALITIES_IN_STUDY,
    SERIES_INSTANCE_UID,
    SOP_CLASSES_IN_STUDY,
    STUDY_INSTANCE_UID,
    Level,
    level_of,
)
from lamella.archive.matching import Attributes, read_values
from lamella.archive.person_name import fold, split_groups
from lamella.archive.statements import Statement, insert_into
from lamella.archive.tables import BigId, Digest
from lamella.archive.tables import Bytewise as Text
from lamella.archive.temporal import bound_time, normalize_date
from lamella.errors import InvalidInstance

_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")
UNKNOWN: Final = "~"
"""Sorts after every digit: what has no date or number comes last."""

study_row = sa.Table(
    "study_row",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("row_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("study_uid", Text, nullable=False),
    sa.Column("sort_key", Text, nullable=False),
    sa.Column("patient_id", Text, nullable=False),
    sa.Column("issuer_of_patient_id", Text, nullable=False),
    sa.Column("patient_name", Text, nullable=False),
    sa.Column("patient_name_other", Text, nullable=False),
    sa.Column("patient_birth_date", Text, nullable=False),
    sa.Column("patient_sex", Text, nullable=False),
    sa.Column("study_date", Text, nullable=False),
    sa.Column("study_time", Text, nullable=False),
    sa.Column("accession_number", Text, nullable=False),
    sa.Column("study_id", Text, nullable=False),
    sa.Column("referring_physician", Text, nullable=False),
    sa.Column("study_description", Text, nullable=False),
    sa.Column("modalities", Text, nullable=False),
    sa.Column("sop_classes", Text, nullable=False),
    sa.Column("attributes", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("dataset_id", "study_uid", "digest", name="uq_study_row_digest"),
    sa.Index("ix_study_row_order", "dataset_id", "sort_key", "row_id"),
    sa.Index("ix_study_row_patient_id", "dataset_id", "patient_id"),
    sa.Index(
        "ix_study_row_patient_name",
        *("dataset_id", "patient_name", "patient_name_other", "sort_key", "row_id"),
    ),
    sa.Index("ix_study_row_patient_name_other", "dataset_id", "patient_name_other"),
    sa.Index("ix_study_row_accession_number", "dataset_id", "accession_number"),
)

series_row = sa.Table(
    "series_row",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("row_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("study_uid", Text, nullable=False),
    sa.Column("series_uid", Text, nullable=False),
    sa.Column("sort_key", Text, nullable=False),
    sa.Column("modality", Text, nullable=False),
    sa.Column("series_number", Text, nullable=False),
    sa.Column("series_date", Text, nullable=False),
    sa.Column("step_start_date", Text, nullable=False),
    sa.Column("step_start_time", Text, nullable=False),
    sa.Column("attributes", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("dataset_id", "series_uid", "digest", name="uq_series_row_digest"),
    sa.Index("ix_series_row_order", "dataset_id", "study_uid", "sort_key", "row_id"),
)


_SPLITTER = msgspec.json.Decoder(dict[str, msgspec.Raw])

_FIND_STUDY = Statement(
    sa.select(study_row.c.row_id).where(
        study_row.c.dataset_id == sa.bindparam("dataset_id"),
        study_row.c.study_uid == sa.bindparam("uid"),
        study_row.c.digest == sa.bindparam("digest"),
    )
)
_FIND_SERIES = Statement(
    sa.select(series_row.c.series_uid, series_row.c.digest, series_row.c.row_id).where(
        series_row.c.dataset_id == sa.bindparam("dataset_id"),
        series_row.c.series_uid.in_(sa.bindparam("uids", expanding=True)),
    )
)
_INSERT_STUDY = insert_into(study_row)
_INSERT_SERIES = insert_into(series_row)


def study_attributes(
    instance_json: Attributes, modalities: Iterable[str] = (), sop_classes: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the patient- and study-level attributes of an instance, as a study row holds them.

    Args:
        instance_json: DICOM JSON of the study's representative instance.
        modalities: Modality of every series of the study.
        sop_classes: SOP class of every instance of the study.
    """
    found = _select(instance_json, lambda tag: level_of(tag) <= Level.STUDY)
    found.pop(MODALITIES_IN_STUDY, None)
    found.pop(SOP_CLASSES_IN_STUDY, None)
    for tag, vr, values in (
        (MODALITIES_IN_STUDY, "CS", modalities),
        (SOP_CLASSES_IN_STUDY, "UI", sop_classes),
    ):
        known = sorted({value for value in values if value})
        if known:
            found[tag] = {"vr": vr, "Value": known}
    return dict(sorted(found.items()))


def series_attributes(instance_json: Attributes) -> dict[str, Any]:
    """Return the series-level attributes of an instance, and the UID of its study.

    Args:
        instance_json: DICOM JSON of the series' representative instance.
    """
    return _select(
        instance_json,
        lambda tag: (
            level_of(tag) is Level.SERIES or tag in EVERY_LEVEL or tag == STUDY_INSTANCE_UID
        ),
    )


def _select(attributes: Attributes, belongs: Callable[[str], bool]) -> dict[str, Any]:
    return {
        tag: _drop_bulk(attributes[tag])
        for tag in sorted(attributes)
        if belongs(tag) and tag not in COMPUTED and not _is_bulk(attributes[tag])
    }


def _drop_bulk(element: Mapping[str, Any]) -> Mapping[str, Any]:
    if element["vr"] != "SQ":
        return element
    items = [_select(item or {}, lambda tag: True) for item in element.get("Value", ())]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _is_bulk(element: Mapping[str, Any]) -> bool:
    return "BulkDataURI" in element or "InlineBinary" in element


def intern_study(
    conn: sa.Connection,
    dataset_id: int,
    attributes: Mapping[str, Any],
    allocate: Callable[[], int],
    indexes: Sequence[AttributeIndex] = (NAMES,),
) -> int:
    """Return the id of the dataset's row with these study attributes; make it if there is none.

    Args:
        conn: In a transaction that holds the dataset's lock, so that nobody makes the row too.
        attributes: What `study_attributes` returned.
        allocate: Gives the next row id of the dataset; called only for a new row.
        indexes: In which a new row is entered.

    Raises:
        InvalidInstance: The attributes have no Study Instance UID.
    """
    values = make_study_values(attributes)
    known = {"dataset_id": dataset_id, "uid": values["study_uid"], "digest": values["digest"]}
    row_id = _FIND_STUDY.fetch_value(conn, known)
    if row_id is None:
        row_id = allocate()
        _INSERT_STUDY.run(conn, {"dataset_id": dataset_id, "row_id": row_id, **values})
        entries = list_row_entries(dataset_id, row_id, attributes, indexes)
        write_entries(conn, row_entry, entries)
    return int(row_id)


def intern_series(
    conn: sa.Connection,
    dataset_id: int,
    attributes: Mapping[str, Any],
    allocate: Callable[[], int],
    indexes: Sequence[AttributeIndex] = (),
) -> int:
    """Return the id of the dataset's row with these series attributes; make it if there is none.

    Args: as for `intern_study`, with what `series_attributes` returned.

    Raises:
        InvalidInstance: The attributes have no Series or no Study Instance UID.
    """
    (row_id,) = intern_series_rows(conn, dataset_id, [attributes], allocate, indexes)
    return row_id


def intern_series_rows(
    conn: sa.Connection,
    dataset_id: int,
    all_attributes: Sequence[Mapping[str, Any]],
    allocate: Callable[[], int],
    indexes: Sequence[AttributeIndex] = (),
) -> list[int]:
    """Do for many series what `intern_series` does for one, in as many statements.

    Args: as for `intern_series`; the series are different ones.
    """
    values = [make_series_values(attributes) for attributes in all_attributes]
    names = {"dataset_id": dataset_id, "uids": [one["series_uid"] for one in values]}
    known = {(uid, key): row_id for uid, key, row_id in _FIND_SERIES.fetch_all(conn, names)}
    ids, rows, entries = [], [], []
    for one, attributes in zip(values, all_attributes, strict=True):
        row_id = known.get((one["series_uid"], one["digest"]))
        if row_id is None:
            row_id = allocate()
            rows.append({"dataset_id": dataset_id, "row_id": row_id, **one})
            entries += list_row_entries(dataset_id, row_id, attributes, indexes)
        ids.append(int(row_id))
    _INSERT_SERIES.run_many(conn, rows)
    write_entries(conn, row_entry, entries)
    return ids


def make_study_values(attributes: Attributes) -> dict[str, Any]:
    """Return what a study row holds besides dataset and row id: a function of its attributes.

    Raises:
        InvalidInstance: The attributes have no Study Instance UID.
    """
    _require(attributes, STUDY_INSTANCE_UID, "Study Instance UID")
    return {**_seal(attributes), **_study_columns(attributes)}


def make_series_values(attributes: Attributes) -> dict[str, Any]:
    """Return what a series row holds besides dataset and row id: a function of its attributes.

    Raises:
        InvalidInstance: The attributes have no Series or no Study Instance UID.
    """
    _require(attributes, STUDY_INSTANCE_UID, "Study Instance UID")
    _require(attributes, SERIES_INSTANCE_UID, "Series Instance UID")
    return {**_seal(attributes), **_series_columns(attributes)}


def _seal(attributes: Attributes) -> dict[str, bytes]:
    data = msgspec.json.encode(attributes, order="deterministic")
    return {"digest": hashlib.sha256(data).digest(), "attributes": data}


def decode_attributes(data: bytes) -> dict[str, Any]:
    """Return the DICOM JSON that a row's `attributes` column holds."""
    decoded: dict[str, Any] = msgspec.json.decode(data)
    return decoded


def split_attributes(data: bytes) -> dict[str, msgspec.Raw]:
    """Return the JSON of each attribute that such a column holds."""
    return _SPLITTER.decode(data)


def pick_attributes(data: bytes, tags: frozenset[str]) -> dict[str, Any]:
    """Return those of the tags that such a column holds; the rest is not decoded."""
    values = msgspec.structs.astuple(_build_picker(tags)(data))
    return {
        tag: value
        for tag, value in zip(sorted(tags), values, strict=True)
        if value is not msgspec.UNSET
    }


@lru_cache(maxsize=64)
def _build_picker(tags: frozenset[str]) -> Callable[[bytes], msgspec.Struct]:
    names = {f"t{tag}": tag for tag in sorted(tags)}
    fields = [(name, Any, msgspec.UNSET) for name in names]
    picked = msgspec.defstruct("Picked", fields, rename=names, gc=False)
    return msgspec.json.Decoder(picked).decode


def _require(attributes: Attributes, tag: str, name: str) -> str:
    text = read_text(attributes, tag)
    if not text:
        raise InvalidInstance(f"An instance without {name} has no place in the catalog.")
    return text


def _study_columns(attributes: Attributes) -> dict[str, str]:
    name = read_values(attributes, "00100010")
    alphabetic, *other = [fold(group) for group in split_groups(name[0] if name else "")]
    study_uid = read_text(attributes, STUDY_INSTANCE_UID)
    study_date, study_time = read_date(attributes, "00080020"), read_time(attributes, "00080030")
    return _clean(
        {
            "study_uid": study_uid,
            "sort_key": order_study(study_date, study_time) + study_uid,
            "patient_id": read_text(attributes, "00100020"),
            "issuer_of_patient_id": read_text(attributes, "00100021"),
            "patient_name": alphabetic,
            "patient_name_other": "=".join(other).strip("="),
            "patient_birth_date": read_date(attributes, "00100030"),
            "patient_sex": read_text(attributes, "00100040"),
            "study_date": study_date,
            "study_time": study_time,
            "accession_number": read_text(attributes, "00080050"),
            "study_id": read_text(attributes, "00200010"),
            "referring_physician": _read_name(attributes, "00080090"),
            "study_description": read_text(attributes, "00081030"),
            "modalities": _join(attributes, MODALITIES_IN_STUDY),
            "sop_classes": _join(attributes, SOP_CLASSES_IN_STUDY),
        }
    )


def _series_columns(attributes: Attributes) -> dict[str, str]:
    series_uid = read_text(attributes, SERIES_INSTANCE_UID)
    number = read_text(attributes, "00200011")
    return _clean(
        {
            "study_uid": read_text(attributes, STUDY_INSTANCE_UID),
            "series_uid": series_uid,
            "sort_key": order_number(number) + series_uid,
            "modality": read_text(attributes, "00080060"),
            "series_number": number,
            "series_date": read_date(attributes, "00080021"),
            "step_start_date": read_date(attributes, "00400244"),
            "step_start_time": read_time(attributes, "00400245"),
        }
    )


def order_study(study_date: str, study_time: str) -> str:
    """Return the part of a study's sort key that puts the newest first; 20 characters.

    Args:
        study_date: `YYYYMMDD`; anything else counts as unknown.
        study_time: 12 digits; anything else counts as unknown.
    """
    day = order_date(study_date) if normalize_date(study_date) else UNKNOWN * 8
    clock = study_time.translate(_COMPLEMENT) if len(study_time) == 12 else UNKNOWN * 12
    return day + clock


def order_date(day: str) -> str:
    """Return a text that sorts before that of every earlier day."""
    return day.translate(_COMPLEMENT)


def order_number(number: str) -> str:
    """Return a text that sorts like the whole number `number`; 11 characters."""
    try:
        shifted = int(number) + 2**31
    except ValueError:
        return UNKNOWN * 11
    return f"{shifted:011d}" if 0 <= shifted < 10**11 else UNKNOWN * 11


def read_text(attributes: Attributes, tag: str) -> str:
    """Return the first value of an attribute as text without outer spaces, '' if it has none."""
    values = read_values(attributes, tag)
    return str(values[0]).strip() if values else ""


def read_date(attributes: Attributes, tag: str) -> str:
    """Return a DA attribute as `YYYYMMDD`, as it stands if it is no date, '' if it has none."""
    text = read_text(attributes, tag)
    return normalize_date(text) or text


def read_time(attributes: Attributes, tag: str) -> str:
    """Return a TM attribute's first moment as 12 digits, '' if it has none or is no time."""
    bounds = bound_time(read_text(attributes, tag))
    return bounds[0] if bounds else ""


def _read_name(attributes: Attributes, tag: str) -> str:
    return "\\".join(
        fold("=".join(split_groups(value))).strip("=") for value in read_values(attributes, tag)
    )


def _join(attributes: Attributes, tag: str) -> str:
    return "\\".join(str(value).strip() for value in read_values(attributes, tag))


def _clean(columns: dict[str, str]) -> dict[str, str]:
    # PostgreSQL's text has no NUL, nor lone surrogates; no search key has them either.
    return {
        name: value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
        for name, value in columns.items()
    }
