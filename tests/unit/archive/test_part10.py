"""File meta information of received data sets, read back with pydicom."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from lamella.archive.part10 import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    build_file_meta,
)


@pytest.mark.parametrize("source", ["A", "MODALITY", "SIXTEEN LETTERS."])
@pytest.mark.parametrize("sop_uid", ["1.2.3", "1.2.34"])
def test_file_meta_is_what_pydicom_reads(source: str, sop_uid: str) -> None:
    encoded = build_file_meta("1.2.840.1", sop_uid, ExplicitVRLittleEndian, source)
    meta = dcmread(BytesIO(encoded)).file_meta
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.MediaStorageSOPClassUID == "1.2.840.1"
    assert meta.MediaStorageSOPInstanceUID == sop_uid
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == source
    assert meta.FileMetaInformationGroupLength == len(encoded) - 128 - 4 - 12


def test_what_came_over_the_web_names_no_application_entity() -> None:
    meta = dcmread(BytesIO(build_file_meta("1.2.3", "1.2.4", ExplicitVRLittleEndian))).file_meta
    assert "SourceApplicationEntityTitle" not in meta


def test_our_own_names_are_valid() -> None:
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
    assert 0 < len(IMPLEMENTATION_VERSION_NAME) <= 16
