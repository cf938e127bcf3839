"""Metadata parts: what JSON or XML says of instances, one data set after the other.

A document is taken apart into its instances first, and each of them read only when its turn
comes, so a series of a thousand costs no more memory than one of ten.

Source:
    PS3.18 §10.5.1.4 (an array in one part, or a part an instance), Annex F; PS3.19 Annex A.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from lamella.dicomweb.media_types import DICOM_JSON, DICOM_XML
from lamella.dicomweb.native_reader import read_native_model
from lamella.errors import InvalidInstance, LamellaError

METADATA_TYPES = frozenset({DICOM_JSON, DICOM_XML})
LONGEST_METADATA_BYTES = 32 << 20
MOST_VALUES = 1_000_000
"""Of a whole part, so that what they take in memory is bounded."""
MOST_INSTANCE_VALUES = 300_000

DataSet = dict[str, dict[str, Any]]

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_DATA_SET = msgspec.json.Decoder(dict[str, dict[str, Any]])
_NO_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def read_metadata(document: bytes, kind: str) -> Iterator[DataSet | LamellaError]:
    """Yield the data sets of a metadata part; an error for each that cannot be read.

    Args:
        document: At most `LONGEST_METADATA_BYTES`.
        kind: One of `METADATA_TYPES`.
    """
    try:
        if kind == DICOM_XML:
            yield read_native_model(document)
            return
        texts = _split_array(document)
    except InvalidInstance as error:
        yield error
        return
    for text in texts:
        yield _read_data_set(text)


def _split_array(document: bytes) -> list[msgspec.Raw]:
    """Return the members of an array, or the one object that stands for it."""
    if document.count(b",") > MOST_VALUES:
        raise InvalidInstance("A metadata part has too many values.")
    try:
        if document.lstrip()[:1] == b"{":
            return [msgspec.Raw(document)]
        return _ARRAY.decode(document)
    except _NO_JSON as error:
        raise InvalidInstance("A metadata part is no JSON array of data sets.") from error


def _read_data_set(text: msgspec.Raw) -> DataSet | LamellaError:
    if bytes(text).count(b",") > MOST_INSTANCE_VALUES:
        return InvalidInstance("The metadata of an instance have too many values.")
    try:
        return _DATA_SET.decode(text)
    except _NO_JSON:
        return InvalidInstance("The metadata of an instance are no DICOM JSON.")
