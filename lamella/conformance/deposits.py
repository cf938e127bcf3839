"""Instances that checks store, each in a study of its own, and what answers say about them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom import Dataset

from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM_JSON,
    DataSet,
    expect,
    expect_media_type,
    expect_status,
    read_json,
    read_parts,
    require_offered,
)
from lamella.conformance.multipart import wrap
from lamella.conformance.probe import Probe
from lamella.conformance.samples import copy_with, make_uid, read_file, write_file

FAILED, REFERENCED, OTHER = "00081198", "00081199", "0008119A"
REASON, CLASS_UID, REFERENCE_UID, RETRIEVE_URL = "00081197", "00081150", "00081155", "00081190"
_PLAIN = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def make_instance(probe: Probe, study_uid: str | None = None, **attributes: Any) -> Dataset:
    """Return a new instance, in a study of its own unless one is named."""
    ds = copy_with(
        probe.samples["mono1"],
        StudyInstanceUID=study_uid or make_uid(),
        SeriesInstanceUID=make_uid(),
        PatientID=probe.samples.patient_id(9),
        PatientName=f"{probe.samples.word}Stored^Sam",
        AccessionNumber="",
        **attributes,
    )
    return ds


def store(probe: Probe, instances: Iterable[Dataset], **how: Any) -> Reply:
    """Store instances in one request; ends the check if the server stores nothing at all."""
    found = list(instances)
    parts = [wrap(write_file(ds)) for ds in found]
    reply = probe.store(parts, {str(ds.StudyInstanceUID) for ds in found}, **how)
    return require_offered(reply, "Storing")


def path_of(ds: Dataset) -> str:
    """Return the path of an instance's resource."""
    study = f"/studies/{ds.StudyInstanceUID}"
    return f"{study}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def read_module(reply: Reply) -> DataSet:
    """Return the Store Instances Response Module; fail if it is none."""
    expect_media_type(reply, DICOM_JSON, "application/json")
    found = read_json(reply)
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    expect(isinstance(found, dict), reply, "one DICOM JSON object", found)
    return dict(found)


def list_items(module: DataSet, tag: str) -> list[DataSet]:
    """Return the items of a sequence; none if it is absent."""
    return list(module.get(tag, {}).get("Value") or [])


def expect_stored(probe: Probe, *instances: Dataset) -> None:
    """Fail unless instances can be read with the pixels they were stored with."""
    for ds in instances:
        reply = expect_status(probe.get(path_of(ds), accept=_PLAIN, fresh=True), 200)
        got = read_file(read_parts(reply)[0].body)
        is_same = got.SOPInstanceUID == ds.SOPInstanceUID and got.PixelData == ds.PixelData
        expect(is_same, reply, "the instance that was stored", got.SOPInstanceUID)


def expect_absent(probe: Probe, *instances: Dataset) -> None:
    """Fail if an instance can be read."""
    for ds in instances:
        expect_status(probe.get(f"{path_of(ds)}/metadata", fresh=True), 404, 410)
