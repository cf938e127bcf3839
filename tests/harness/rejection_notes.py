"""Rejection notes, as a Change Requester of IHE IOCM writes them."""

from __future__ import annotations

import io
from collections.abc import Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

MEANINGS = {
    "113000": "Of Interest",
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}


def make_note(
    code: str,
    references: Sequence[tuple[str, str, str]],
    *,
    sop: str = "1.2.3.99.1",
    scheme: str = "DCM",
    meant: Sequence[str] | None = None,
    patient_id: str = "PAT1",
) -> bytes:
    """Return a Key Object Selection document as a Part 10 file.

    Args:
        code: Its document title.
        references: (Study, Series, SOP) Instance UID of the evidence.
        meant: SOP Instance UIDs that the content refers to; None for all of the evidence.
    """
    ds = Dataset()
    ds.SOPClassUID = KeyObjectSelectionDocumentStorage
    ds.SOPInstanceUID = sop
    ds.StudyInstanceUID = references[0][0]
    ds.SeriesInstanceUID = f"{references[0][0]}.99"
    ds.PatientID = patient_id
    ds.PatientName = "Test^Person"
    ds.Modality = "KO"
    ds.SeriesNumber, ds.InstanceNumber = 99, 1
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = Items([make_code(code, scheme)])
    ds.CurrentRequestedProcedureEvidenceSequence = Items(map(make_evidence, references))
    uids = [sop_uid for _, _, sop_uid in references] if meant is None else meant
    ds.ContentSequence = Items(map(make_item, uids))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = sop
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_code(value: str, scheme: str) -> Dataset:
    """Return an item of a code sequence."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = value, scheme
    code.CodeMeaning = MEANINGS[value]
    return code


def make_evidence(names: tuple[str, str, str]) -> Dataset:
    """Return an item of the evidence: a study with one instance."""
    study, series = Dataset(), Dataset()
    study.StudyInstanceUID, series.SeriesInstanceUID = names[0], names[1]
    series.ReferencedSOPSequence = Items([make_reference(names[2])])
    study.ReferencedSeriesSequence = Items([series])
    return study


def make_item(sop_uid: str) -> Dataset:
    """Return a content item that refers to an image."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
    item.ReferencedSOPSequence = Items([make_reference(sop_uid)])
    return item


def make_reference(sop_uid: str) -> Dataset:
    """Return an item that refers to an image."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, sop_uid
    return reference
