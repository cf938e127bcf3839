"""Identifiers of queries and retrieves: read into the archive's query, and written as answers.

Source:
    PS3.4 §C.4.1.1.3 (identifiers), §C.4.1.2 and §C.4.1.3 (hierarchical and relational queries),
    §C.6 (information models).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from lamella.archive.identifier import NOT_KEYS, query_from_identifier
from lamella.archive.levels import COMPUTED, INSTANCE_AVAILABILITY, UNIQUE_KEYS, Level
from lamella.archive.query import Key, Query, Single, UidList
from lamella.errors import IdentifierMismatch, InvalidRequest
from lamella.imaging.data_sets import UTF_8, encode_value, pad_value, read_vr, write_value

QUERY_RETRIEVE_LEVEL: Final = "00080052"
RETRIEVE_AE_TITLE: Final = "00080054"
CHARSET: Final = "00080005"

ROOTS: Final = {
    str(PatientRootQueryRetrieveInformationModelFind): Level.PATIENT,
    str(StudyRootQueryRetrieveInformationModelFind): Level.STUDY,
}
"""SOP classes of C-FIND, and the level at which their information models begin."""

GET_ROOTS: Final = {
    str(PatientRootQueryRetrieveInformationModelGet): Level.PATIENT,
    str(StudyRootQueryRetrieveInformationModelGet): Level.STUDY,
}
MOVE_ROOTS: Final = {
    str(PatientRootQueryRetrieveInformationModelMove): Level.PATIENT,
    str(StudyRootQueryRetrieveInformationModelMove): Level.STUDY,
}
"""The same of C-GET and C-MOVE."""

ALL_ROOTS: Final = {**ROOTS, **GET_ROOTS, **MOVE_ROOTS}

LEVELS: Final = {
    "PATIENT": Level.PATIENT,
    "STUDY": Level.STUDY,
    "SERIES": Level.SERIES,
    "IMAGE": Level.INSTANCE,
}

FAILED_SOP_INSTANCE_UIDS: Final = 0x00080058
_LONGEST_UIDS: Final = 0xFFFE  # as a value of Explicit VR takes them
_NOT_COUNTED: Final = frozenset({"00201200", "00201202", "00201204"})
_ITEM: Final = (0xFFFE, 0xE000)


@dataclass(frozen=True, slots=True)
class Extensions:
    """What extended negotiation agreed on for one SOP class.

    Attributes:
        relational: Unique keys of the levels above need not be given.
        combined: Ranges of a date and its time are one range of datetimes.
        fuzzy: Person names match by likeness.

    Source:
        PS3.4 §C.5.1.1.1.
    """

    relational: bool = False
    combined: bool = False
    fuzzy: bool = False

    @classmethod
    def parse(cls, proposed: bytes) -> Extensions:
        """Return what is agreed on of what the requestor proposed: all that is offered here."""
        return cls(*(byte == 1 for byte in proposed[:3]))

    def encode(self, length: int) -> bytes:
        """Return the application information of the answer, as long as that of the proposal."""
        flags = bytes((self.relational, self.combined, self.fuzzy))
        return (flags + bytes(length))[:length]


NOT_EXTENDED: Final = Extensions()


@dataclass(frozen=True, slots=True)
class FindRequest:
    """What a C-FIND asks.

    Attributes:
        level_name: Query/Retrieve Level as on the wire.
        is_supported: Whether each key is supported as it was used.
    """

    query: Query
    level_name: str
    is_supported: bool


def read_identifier(
    encoded: bytes, transfer_syntax: UID, root: Level, extensions: Extensions = NOT_EXTENDED
) -> FindRequest:
    """Return what an identifier asks.

    Args:
        encoded: The data set.
        transfer_syntax: It is encoded in.
        root: Level at which the information model begins.
        extensions: What was agreed on.

    Raises:
        IdentifierMismatch: The level is none of the model's, or a unique key is missing.
        InvalidRequest: It cannot be read, or the value of a key is not valid.
    """
    ds = _decode(encoded, transfer_syntax)
    return _read_request(ds, root, extensions)


def read_retrieve_identifier(
    encoded: bytes, transfer_syntax: UID, root: Level, extensions: Extensions = NOT_EXTENDED
) -> Query:
    """Return what the identifier of a C-GET or C-MOVE names; only unique keys count.

    Raises:
        IdentifierMismatch: As `read_identifier`, or the unique key of the level has no value.
        InvalidRequest: It cannot be read, or the value of a key is not valid.

    Source:
        PS3.4 §C.4.2.1.4 (identifier of C-MOVE), §C.4.3.1.3 (of C-GET), §C.4.2.2.1.
    """
    ds = _decode(encoded, transfer_syntax)
    unique = {int(tag, 16) for tag in UNIQUE_KEYS.values()} | {int(QUERY_RETRIEVE_LEVEL, 16)}
    for tag in [tag for tag in ds.keys() if int(tag) not in unique]:  # noqa: SIM118
        del ds[tag]
    query = _read_request(ds, root, extensions).query
    tag = UNIQUE_KEYS[query.level]
    own = next((key.condition for key in query.keys if key.path == (tag,)), None)
    if not isinstance(own, UidList | Single):
        raise IdentifierMismatch("The unique key of the level has no value.", tag)
    return query


def write_failures(sop_uids: Sequence[str], *, is_implicit: bool) -> bytes:
    """Return the identifier of a final answer that lists the instances that were not sent.

    As many as a value takes: some 1,000.

    Source:
        PS3.4 §C.4.2.1.4.2 and §C.4.3.1.3.2.
    """
    value = "\\".join(sop_uids).encode("ascii")
    if len(value) > _LONGEST_UIDS:
        value = value[: value.rindex(b"\\", 0, _LONGEST_UIDS)]
    value += b"\0" * (len(value) % 2)
    if is_implicit:
        tag = FAILED_SOP_INSTANCE_UIDS
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
    return write_value(FAILED_SOP_INSTANCE_UIDS, "UI", value)


def _decode(encoded: bytes, transfer_syntax: UID) -> Dataset:
    """Return the data set of an identifier; its elements are not read yet.

    Raises:
        InvalidRequest: It cannot be read.
    """
    try:
        return decode(
            BytesIO(encoded), transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian
        )
    except Exception as error:  # pydicom fails in many ways on what peers may send
        raise InvalidRequest("The identifier cannot be read.") from error


def _read_request(ds: Dataset, root: Level, extensions: Extensions) -> FindRequest:
    try:
        level_name = str(ds.get("QueryRetrieveLevel") or "").strip()
        level = LEVELS.get(level_name)
        if level is None or level < root:
            raise IdentifierMismatch(
                "Query/Retrieve Level is none of the information model's.", QUERY_RETRIEVE_LEVEL
            )
        query = query_from_identifier(
            ds, level, fuzzy=extensions.fuzzy, combined=extensions.combined
        )
    except InvalidRequest:
        raise
    except Exception as error:  # as above: elements are read only now
        raise InvalidRequest("The identifier cannot be read.") from error
    if not extensions.relational:
        _check_hierarchy(query, root)
    return FindRequest(query, level_name, _is_supported(ds, query))


def _check_hierarchy(query: Query, root: Level) -> None:
    """Require one value of the unique key of each level above.

    Raises:
        IdentifierMismatch: There is none, or a list or pattern.
    """
    by_path = {key.path: key for key in query.keys}
    for level in Level:
        tag = UNIQUE_KEYS[level]
        if root <= level < query.level and not _is_single(by_path.get((tag,))):
            raise IdentifierMismatch("A unique key of a level above has no single value.", tag)


def _is_single(key: Key | None) -> bool:
    condition = key.condition if key is not None else None
    if isinstance(condition, UidList):
        return len(condition.uids) == 1
    return isinstance(condition, Single)


def _is_supported(ds: Dataset, query: Query) -> bool:
    """Tell whether each key is supported for existence, and for matching if it has a value."""
    known = {path[0] for path in query.include}
    for tag in ds.keys():  # noqa: SIM118  (a data set iterates over its elements)
        name = f"{int(tag):08X}"
        if name in NOT_KEYS:
            continue
        if name not in known or tag.is_private or name in _NOT_COUNTED:
            return False
        if name in COMPUTED and ds[tag].value not in (None, ""):
            return False
    return True


def write_answer(
    result: Mapping[str, Any], request: FindRequest, ae_title: str, *, is_implicit: bool
) -> bytes:
    """Return the identifier of a pending answer.

    Args:
        result: What was asked of the match, DICOM JSON.
        request: What was asked.
        ae_title: From which the match can be retrieved: the one that was called.
        is_implicit: Implicit VR little endian rather than explicit.

    Source:
        PS3.4 §C.4.1.1.3.2.
    """
    answer = {tag: element for tag, element in result.items() if tag not in _NOT_COUNTED}
    answer[CHARSET] = UTF_8
    answer[QUERY_RETRIEVE_LEVEL] = {"vr": "CS", "Value": [request.level_name]}
    answer[RETRIEVE_AE_TITLE] = {"vr": "AE", "Value": [ae_title]}
    answer[INSTANCE_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
    return _encode_level(answer, is_implicit)


def _encode_level(attributes: Mapping[str, Any], is_implicit: bool) -> bytes:
    return b"".join(
        _encode_attribute(key, attributes[key], is_implicit) for key in sorted(attributes)
    )


def _encode_attribute(key: str, element: Mapping[str, Any], is_implicit: bool) -> bytes:
    tag = int(key, 16)
    if key == CHARSET:
        element = UTF_8
    vr = read_vr(tag, element)
    if "BulkDataURI" in element:
        value = b""  # no search gives what only a retrieve should
    elif vr == "SQ":
        items = [_encode_level(item or {}, is_implicit) for item in element.get("Value") or ()]
        value = b"".join(struct.pack("<HHL", *_ITEM, len(item)) + item for item in items)
    else:
        value = pad_value(vr, encode_value(tag, vr, element))
    if is_implicit:
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
    return write_value(tag, vr, value)
